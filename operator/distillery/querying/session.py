"""The session: what an executor keeps over all rounds: options, ledger, limits, logs, what it knows of the teacher."""

from __future__ import annotations

from dataclasses import dataclass, field

from distillery.errors import StageFailed
from distillery.querying.answers import Warn
from distillery.querying.call_ledger import CallLedger
from distillery.querying.circuit_breaker import CircuitBreaker
from distillery.querying.journal import AnswerJournal
from distillery.querying.ledger_log import LedgerLog
from distillery.querying.limits import Limits
from distillery.querying.model_mix import ModelMixWarner
from distillery.querying.request_body import RequestBuilder
from distillery.querying.settings import TeacherSettings


def _silent(_: str) -> None:
    return


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """Patience of the engine, in seconds. The defaults suit a remote provider; tests use smaller ones."""

    timeout_seconds: float = 600.0
    """One call may take this long."""
    backoff_seconds: float = 0.5
    """Before the second try; doubled for every further one."""
    longest_backoff_seconds: float = 30.0
    outage_seconds: float = 90.0
    """So long may every call fail before the teacher counts as down."""
    startup_seconds: float = 10.0
    """The same while it has never answered."""
    rate_limited_seconds: float = 900.0
    """So long may every call be throttled."""
    longest_pause_seconds: float = 600.0
    """No single pause that the teacher asks for is longer."""
    drain_seconds: float = 30.0
    """So long do calls in flight get to finish once the round is to end."""
    commit_seconds: float = 0.1
    """Longest wait before paid answers become durable."""
    warn: Warn = _silent


@dataclass(slots=True)
class Session:
    """The lasting parts of an executor."""

    settings: TeacherSettings
    options: EngineOptions
    api_key: str | None = field(repr=False)
    calls: CallLedger
    limits: Limits
    warner: ModelMixWarner
    breaker: CircuitBreaker
    builder: RequestBuilder
    journal: AnswerJournal
    ledger: LedgerLog
    accepted: bool = False
    """Whether the teacher ever answered such a question, now or before: then rejections are the rows' fault."""
    rejected_in_a_row: int = 0
    """Rows that the teacher found unacceptable before it accepted any."""
    denied_in_a_row: int = 0
    """Rows that were denied access, without an answer between."""
    denial: StageFailed | None = None
    """What the last of them says."""
