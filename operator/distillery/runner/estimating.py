"""Estimates a job's teacher bill: reads the inputs, looks into the answer cache, asks nobody."""

from __future__ import annotations

import tempfile
from decimal import Decimal
from pathlib import Path

from distillery.api.base import WireModel
from distillery.api.v1alpha1.common import Money
from distillery.api.v1alpha1.distillation_job import DistillationJob
from distillery.artifacts.opening import source_opener
from distillery.querying import Question, TeacherEngine
from distillery.rules.prompts import render
from distillery.runner.local import store_of
from distillery.runner.secrets import LocalSecrets
from distillery.stages.dataset.inputs import Inputs, build_inputs
from distillery.stages.dataset.reading import read_files
from distillery.stages.dataset.sources import find_sources
from distillery.stages.dataset.spec import DatasetParams


class JobEstimate(WireModel):
    """What a job will ask its teacher and cost. Failed calls and extra tries are not in it."""

    questions: int
    cached: int
    calls: int
    prompt_tokens: int
    completion_tokens: int
    lower: Money
    expected: Money
    upper: Money
    currency: str


def estimate_job(job: DistillationJob, folder: Path, secrets: LocalSecrets) -> JobEstimate:
    """Estimate the bill of a whole job, less what its store's answer cache holds.

    Raises: SpecError if the inputs are wrong; StageFailed, TransientError if store or sources cannot be read.
    """
    settings = job.spec.teacher_settings
    inputs = _inputs(job, secrets)
    questions = _questions(job, inputs)
    engine = TeacherEngine(settings, store_of(job, folder, secrets), "estimate", "estimate", 0, None)
    estimate = engine.estimate(questions)
    return JobEstimate(
        questions=estimate.questions,
        cached=estimate.cached,
        calls=estimate.questions - estimate.cached,
        prompt_tokens=estimate.prompt_tokens,
        completion_tokens=estimate.completion_tokens,
        lower=_money(estimate.lower_micro),
        expected=_money(estimate.expected_micro),
        upper=_money(estimate.upper_micro),
        currency=job.spec.budget.currency,
    )


def _money(micro: int) -> Decimal:
    return Decimal(micro) / 1_000_000


def _inputs(job: DistillationJob, secrets: LocalSecrets) -> Inputs:
    params = DatasetParams.from_spec(job.spec)
    with tempfile.TemporaryDirectory(prefix="distillery-") as cache:
        files = find_sources(params.sources, source_opener(job.spec.storage, secrets), Path(cache))
        pooled, _ = read_files(files, params)
    return build_inputs(pooled, params)


def _questions(job: DistillationJob, inputs: Inputs) -> list[Question]:
    samples = job.spec.teacher.samples
    prompt = job.spec.task.system_prompt
    noise = [row["row_id"] for row in inputs.split("test")][: job.spec.evaluation.noise_rows]
    again = set(noise)
    questions = []
    for row in inputs.rows:
        messages = render(prompt, row["messages"])
        questions.append(Question(row["row_id"], messages))
        if samples is not None and row["split"] == "train":
            extra = range(1, samples.extra + 1)
            questions += [Question(row["row_id"], messages, index, samples.temperature) for index in extra]
        if row["row_id"] in again:
            questions.append(Question(row["row_id"], messages, 1))
    return questions
