"""A candidate: a row with the teacher's answers to it; and what the rules decide about it. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from distillery.api.v1alpha1.task import Output
from distillery.errors import StageFailed
from distillery.rules.filtering import Judged, Rule, RuleName, first_rejection
from distillery.rules.normalising import normalise

ASKED_SPLITS = ("train", "validation")

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One asked row. `failure` says why the teacher's call failed; otherwise there is an answer to judge."""

    input: Row
    """Its row of the dataset's inputs table."""
    judged: Judged
    failure: str | None

    @property
    def row_id(self) -> str:
        """Name of the row."""
        return self.judged.row_id

    @property
    def slices(self) -> Sequence[str]:
        """Names of the slices that the row is in."""
        names: Sequence[str] = self.input["slices"] or ()
        return names


@dataclass(frozen=True, slots=True)
class Decision:
    """What became of a candidate: a training target, or a rule (`teacher` for a failed call) and a reason."""

    candidate: Candidate
    answer: str | None
    rule: RuleName | Literal["teacher"] | None = None
    reason: str | None = None

    @property
    def outcome(self) -> Literal["kept", "rejected", "failed"]:
        """The column of the funnel in which the row is counted."""
        if self.rule is None:
            return "kept"
        return "failed" if self.rule == "teacher" else "rejected"


def gather(inputs: Iterable[Row], completions: Iterable[Row], output: Output) -> list[Candidate]:
    """Return a candidate for every training and validation row, sorted by row id.

    Raises: StageFailed(CompletionsIncomplete) if a row was never asked.
    """
    answers: dict[str, list[Row]] = defaultdict(list)
    for completion in completions:
        answers[completion["row_id"]].append(completion)
    asked = sorted(
        (row for row in inputs if row["split"] in ASKED_SPLITS), key=lambda row: str(row["row_id"])
    )
    return [_candidate(row, answers[row["row_id"]], output) for row in asked]


def _candidate(row: Row, completions: Sequence[Row], output: Output) -> Candidate:
    production = next((answer for answer in completions if answer["sample_index"] == 0), None)
    if production is None:
        message = (
            f"the teacher's artifact has no answer to row {row['row_id']!r} of the dataset's: "
            "delete it in the store and run again; answers that were bought are kept in the cache"
        )
        raise StageFailed("CompletionsIncomplete", message)
    extra = [answer["text"] for answer in completions if answer["sample_index"] > 0 and _answered(answer)]
    judged = Judged(
        row_id=row["row_id"],
        split=row["split"],
        text=production["text"],
        finish_reason=production["finish_reason"],
        refusal=production["refusal"],
        completion_tokens=production["completion_tokens"],
        output=output,
        extra=tuple(extra),
    )
    failure = None if _answered(production) else production["reason"] or "unknown"
    return Candidate(row, judged, failure)


def _answered(completion: Row) -> bool:
    return bool(completion["status"] == "answered")


def decide(candidate: Candidate, rules: Sequence[Rule]) -> Decision:
    """Return the decision of the first rule that objects, or the training target."""
    if candidate.failure is not None:
        return Decision(candidate, None, "teacher", candidate.failure)
    judged = candidate.judged
    rejection = first_rejection(rules, judged)
    if rejection is not None:
        return Decision(candidate, None, rejection.rule, rejection.reason)
    return Decision(candidate, normalise(judged.text or "", judged.output))
