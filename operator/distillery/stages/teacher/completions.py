"""The stage's table: one row per question, answered or not; its digest and its counts. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from distillery.artifacts.tables import COMPLETIONS, rows_digest
from distillery.errors import StageFailed
from distillery.querying import Answer, Result, Unanswered, teacher_is_to_blame
from distillery.scoring.intervals import wilson

NAMES = ("row_id", "split", "sample_index", "status", "answer_key")
LOGICAL = (
    *NAMES,
    "text",
    "finish_reason",
    "refusal",
    "completion_tokens",  # the filter's length rule reads it
    "logprobs",
)
"""What later stages depend on. Reasons of failures, prompt tokens, fingerprints depend on the day."""

Row = dict[str, Any]


def completion_rows(results: Iterable[Result], splits: Mapping[str, str]) -> list[Row]:
    """Return the rows of completions.parquet, sorted by row id and sample index.

    Args:
        results: what the engine returned.
        splits: split by row id.
    """
    rows = [_row(result, splits[result.question.row_id]) for result in results]
    return sorted(rows, key=lambda row: (row["row_id"], row["sample_index"]))


def completions_digest(rows: Iterable[Row]) -> str:
    """Return the digest of the rows' logical content; of failed rows only that they failed."""
    logical = (
        {name: row[name] for name in (LOGICAL if row["status"] == "answered" else NAMES)} for row in rows
    )
    return rows_digest(logical, COMPLETIONS)


def check_failures(results: Sequence[Result], max_failed: float, *, certain: bool = False) -> None:
    """Check the share of rows without a production answer.

    Args:
        results: of all rows, or of a sample of them.
        max_failed: allowed share.
        certain: judge a sample: fail only if the lower end of Wilson's 95 % interval is above `max_failed`.

    Raises: StageFailed(TooManyFailed), as infrastructure if the teacher rather than the rows is to blame.
    """
    production = [result for result in results if result.question.sample_index == 0]
    failed = [result for result in production if isinstance(result, Unanswered)]
    if certain and wilson(len(failed), len(production)).low <= max_failed:
        return
    if len(failed) > max_failed * len(production):
        raise too_many_failed(failed, len(production), max_failed)


def too_many_failed(failed: Sequence[Unanswered], asked: int, max_failed: float) -> StageFailed:
    """Return the failure that names reasons, an example and the repair."""
    counts = Counter(result.reason for result in failed)
    reasons = ", ".join(f"{reason} {count}" for reason, count in counts.most_common())
    first = failed[0]
    what = f"{len(failed)} of {asked} rows stayed unanswered, more than maxFailed {max_failed:g} allows: {reasons}"
    example = f"for example row {first.question.row_id!r}: {first.message}"
    if teacher_is_to_blame([result.reason for result in failed]):
        repair = "run again when the teacher is well: answers bought so far are kept"
        return StageFailed("TooManyFailed", f"{what}; {example} → {repair}", "infrastructure")
    repair = "correct these rows or spec.teacher.parameters, or raise spec.teacher.maxFailed"
    return StageFailed("TooManyFailed", f"{what}; {example} → {repair}")


def count_rows(rows: Sequence[Row]) -> dict[str, int]:
    """Return the manifest's counts: rows asked = answered + failed, and extra samples beside them."""
    production = [row for row in rows if row["sample_index"] == 0]
    answered = sum(row["status"] == "answered" for row in production)
    extra = [row for row in rows if row["sample_index"] > 0]
    return {
        "asked": len(production),
        "answered": answered,
        "failed": len(production) - answered,
        "extraSamples": len(extra),
        "extraFailed": sum(row["status"] == "failed" for row in extra),
    }


def _row(result: Result, split: str) -> Row:
    question = result.question
    row: Row = {"row_id": question.row_id, "split": split, "sample_index": question.sample_index}
    row["answer_key"] = result.key
    usage = result.usage
    row |= {
        "prompt_tokens": usage.prompt if usage else None,
        "cached_prompt_tokens": usage.cached if usage else None,
        "completion_tokens": usage.completion if usage else None,
    }
    if isinstance(result, Answer):
        row |= {"status": "answered", "reason": None, **_content(result)}
    else:
        row |= {"status": "failed", "reason": result.reason}
        row |= dict.fromkeys(("text", "finish_reason", "refusal", "model", "fingerprint", "logprobs"))
    return row


def _content(answer: Answer) -> Row:
    logprobs = None
    if answer.logprobs is not None:
        logprobs = [
            {
                "token": token.token,
                "logprob": token.logprob,
                "top": [{"token": name, "logprob": value} for name, value in token.top],
            }
            for token in answer.logprobs
        ]
    return {
        "text": answer.text,
        "finish_reason": answer.finish_reason,
        "refusal": answer.refusal,
        "model": answer.model,
        "fingerprint": answer.fingerprint,
        "logprobs": logprobs,
    }
