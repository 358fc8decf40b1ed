"""How a stage opens the teacher engine: the key comes from the context's secrets and goes nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from distillery.api.teacher_settings import TeacherSettings
from distillery.querying import EngineOptions, Executor, TeacherEngine
from distillery.stages.context import StageContext

MakeExecutor = Callable[[StageContext, TeacherSettings, EngineOptions], Executor]


def open_engine(
    context: StageContext,
    settings: TeacherSettings,
    options: EngineOptions | None = None,
    execute_with: MakeExecutor | None = None,
) -> TeacherEngine:
    """Return an engine that writes to the context's store and ledger; use it as a context manager.

    It asks from this process unless `execute_with` makes another executor.

    Raises: SpecError if the Secret that `teacher.endpoint.apiKeySecret` names is not supplied.
    """
    secret = settings.api_key_secret
    key = context.secrets.get(secret.name, secret.key) if secret else None
    run = context.run
    options = replace(options or EngineOptions(), warn=context.warn)
    engine = TeacherEngine(settings, context.store, run.job_uid, run.stage, context.attempt, key, options)
    return engine.execute_with(execute_with(context, settings, options)) if execute_with else engine
