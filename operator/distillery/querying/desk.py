"""What one buyer keeps over all its rounds: options, books, limits, logs, and what it knows of the teacher."""

from __future__ import annotations

from dataclasses import dataclass, field

from distillery.errors import StageFailed
from distillery.querying.answers import Warn
from distillery.querying.books import Books
from distillery.querying.health import Health
from distillery.querying.journal import AnswerJournal
from distillery.querying.ledger_log import LedgerLog
from distillery.querying.limits import Limits
from distillery.querying.notes import Notes
from distillery.querying.requests import RequestBuilder
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
    """So long may every call be refused for its rate."""
    longest_pause_seconds: float = 600.0
    """No single pause that the teacher asks for is longer."""
    drain_seconds: float = 30.0
    """So long do calls in flight get to finish once the round is to end."""
    commit_seconds: float = 0.1
    """Longest wait before paid answers become durable."""
    warn: Warn = _silent


@dataclass(slots=True)
class Desk:
    """The lasting parts of a buyer."""

    settings: TeacherSettings
    options: EngineOptions
    api_key: str | None = field(repr=False)
    books: Books
    limits: Limits
    notes: Notes
    health: Health
    builder: RequestBuilder
    journal: AnswerJournal
    ledger: LedgerLog
    accepted: bool = False
    """Whether the teacher ever answered such a question, now or before: then rejections are the rows' fault."""
    rejected_in_a_row: int = 0
    """Rows that the teacher found unacceptable before it accepted any."""
    refused_in_a_row: int = 0
    """Rows at which the door seemed closed, without an answer between."""
    refusal: StageFailed | None = None
    """What the last of them says."""
