"""The teacher engine: asks an OpenAI-compatible endpoint, never buys an answer twice, accounts for every call.

A stage opens a `TeacherEngine`, hands it `Question`s, and gets an `Answer` or `Unanswered` for each, in order. Whatever
was paid is durable by then: an answer that stands in the answer cache is not bought again, by no stage, attempt or job.

    questions ─▶ TeacherEngine ─▶ answer cache ──────────────────────── known ─▶ answers
                      │                                                             ▲
                      └─ PendingRequests ─▶ Executor ─▶ Dispatcher ── AnswerRecords ┘
                                                             │
           Limits: may it start? does it fit the budget? ────┤──── ChatClient ─▶ the teacher
           CallLedger: intent before, settlement after ──────┤
           retry: what follows from a call that failed ──────┘

Words:
    question, answer: one call's messages, and what was paid for; `Unanswered` is a row that stayed without, and why
    key: the digest of whatever changes an answer; names it in the cache
    executor: gets what the cache lacks, in rounds; `LocalExecutor` from this process, a worker pool from many
    dispatcher: the loop of one round; sends requests as limits and retry allow, and files what comes back
    history, retry: what happened to a row and to its teacher; the ordered list of checks that judge it
    limits: patience, pace, calls at once, budget; one's own, or a lease of what several share
    ledger: every call with its cost, over all attempts of an object; a call whose outcome is lost counts at its most
    journal: the cache's write-ahead log; what a killed engine had paid for is served from it

Files: `engine`, `executor`, `dispatch` ask; `history`, `retry` judge (pure); `limits`, `session` are what a
dispatcher has at hand; `client`, `replies` speak HTTP; `cache`, `ledger`, `wal` keep; `cost` computes; `answers`,
`failures` are what users see. docs/teacher-engine.md says what each promises.
"""

from distillery.querying.answers import (
    Answer,
    AskProgress,
    ProgressTracker,
    Question,
    Result,
    Unanswered,
    Usage,
)
from distillery.querying.cache import AnswerCache, AnswerRecord, teacher_digest
from distillery.querying.cost import (
    PICOS_PER_MICRO,
    CostEstimate,
    Prices,
    estimate_cost,
    to_micro,
)
from distillery.querying.dispatch import PendingRequest, RequestResults
from distillery.querying.engine import TeacherEngine
from distillery.querying.executor import Executor, LocalExecutor, budget_of
from distillery.querying.failures import budget_reached
from distillery.querying.ledger import LedgerTotals, Settlement, Tally, read_ledger, read_writer
from distillery.querying.limits import BudgetAccount, Demand, EngineOptions, Pacer
from distillery.querying.retry import (
    TeacherDown,
    TeacherRefuses,
    after_trial,
    lost_to_teacher,
    teacher_is_to_blame,
)
from distillery.querying.session import ModelMixWarner

__all__ = [
    "PICOS_PER_MICRO",
    "Answer",
    "AnswerCache",
    "AnswerRecord",
    "AskProgress",
    "BudgetAccount",
    "CostEstimate",
    "Demand",
    "EngineOptions",
    "Executor",
    "LedgerTotals",
    "LocalExecutor",
    "ModelMixWarner",
    "Pacer",
    "PendingRequest",
    "Prices",
    "ProgressTracker",
    "Question",
    "RequestResults",
    "Result",
    "Settlement",
    "Tally",
    "TeacherDown",
    "TeacherEngine",
    "TeacherRefuses",
    "Unanswered",
    "Usage",
    "after_trial",
    "budget_of",
    "budget_reached",
    "estimate_cost",
    "lost_to_teacher",
    "read_ledger",
    "read_writer",
    "teacher_digest",
    "teacher_is_to_blame",
    "to_micro",
]
