"""The session: what an executor keeps over all rounds: options, ledger, limits, logs, what it knows of the teacher."""

from __future__ import annotations

from dataclasses import dataclass, field

from distillery.querying.call_ledger import CallLedger
from distillery.querying.history import TeacherHistory
from distillery.querying.journal import AnswerJournal
from distillery.querying.ledger_log import LedgerLog
from distillery.querying.limits import Limits
from distillery.querying.model_mix import ModelMixWarner
from distillery.querying.request_body import RequestBuilder
from distillery.querying.settings import EngineOptions, TeacherSettings


@dataclass(slots=True)
class Session:
    """The lasting parts of an executor."""

    settings: TeacherSettings
    options: EngineOptions
    api_key: str | None = field(repr=False)
    calls: CallLedger
    limits: Limits
    warner: ModelMixWarner
    teacher: TeacherHistory
    builder: RequestBuilder
    journal: AnswerJournal
    ledger: LedgerLog
