"""The pilot: is this teacher worth distilling, judged on a few rows before the rest is bought. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from distillery.api.v1alpha1.filter import Filter
from distillery.api.v1alpha1.task import Output
from distillery.errors import StageFailed
from distillery.querying import Answer, Result, Unanswered
from distillery.rules.filtering import Judged, Rejection, agreement, build_rules, first_rejection
from distillery.rules.normalising import equal
from distillery.scoring.intervals import wilson
from distillery.stages.teacher.questions import Row

EXAMPLES = 3
EXAMPLE_CHARACTERS = 120


@dataclass(frozen=True, slots=True)
class Share:
    """`hits` of `rows`, with Wilson's 95 % interval."""

    hits: int
    rows: int

    @property
    def value(self) -> float | None:
        """The share; None without rows."""
        return self.hits / self.rows if self.rows else None

    @property
    def upper(self) -> float:
        """Upper end of the interval."""
        return wilson(self.hits, self.rows).high

    def to_wire(self) -> dict[str, Any] | None:
        """Return the JSON form, None without rows."""
        if not self.rows:
            return None
        interval = wilson(self.hits, self.rows)
        ends = [round(interval.low, 4), round(interval.high, 4)]
        return {
            "count": self.hits,
            "of": self.rows,
            "share": round(self.hits / self.rows, 4),
            "interval": ends,
        }


@dataclass(frozen=True, slots=True)
class PilotResult:
    """What the pilot rows' answers are like."""

    rows: int
    unanswered: Counter[str]
    accepted: Share
    """Answers that pass the filter's rules."""
    correct: Share
    """Answers equal to the row's reference, where there is one."""
    consistent: Share
    """Extra samples equal to their production answer."""
    with_alternatives: int
    """Answers that came with alternatives per token."""
    rejections: Counter[tuple[str, str]] = field(default_factory=Counter)
    examples: dict[tuple[str, str], list[tuple[str, str]]] = field(default_factory=dict)

    def to_wire(self, min_accepted: float) -> dict[str, Any]:
        """Return the JSON form for usage.json."""
        return {
            "rows": self.rows,
            "unanswered": dict(sorted(self.unanswered.items())),
            "accepted": self.accepted.to_wire(),
            "minAccepted": round(min_accepted, 6),
            "correct": self.correct.to_wire(),
            "selfAgreement": self.consistent.to_wire(),
            "rejections": [
                {
                    "rule": rule,
                    "reason": reason,
                    "count": count,
                    "examples": [{"rowId": row, "text": text} for row, text in self.examples[rule, reason]],
                }
                for (rule, reason), count in self.rejections.most_common()
            ],
        }


def judge_pilot(rows: Sequence[Row], results: Iterable[Result], output: Output, rules: Filter) -> PilotResult:
    """Judge the answers to the pilot rows by the filter's own rules.

    Raises: SpecError if a rule cannot be built.
    """
    built = build_rules(rules.rules)
    by_row: dict[str, list[Result]] = defaultdict(list)
    for result in results:
        by_row[result.question.row_id].append(result)
    pilot = PilotResult(len(rows), Counter(), Share(0, 0), Share(0, 0), Share(0, 0), 0)
    accepted: list[bool] = []
    correct: list[bool] = []
    agreed = samples = alternatives = 0
    for row in rows:
        production, *extra = sorted(by_row[row["row_id"]], key=lambda result: result.question.sample_index)
        if isinstance(production, Unanswered):
            pilot.unanswered[production.reason] += 1
            continue
        judged = _judged(row, production, extra, output)
        rejection = first_rejection(built, judged)
        accepted.append(rejection is None)
        if rejection is not None:
            _note(pilot, rejection, production)
        if row["reference"] is not None:
            correct.append(equal(production.text, row["reference"], output))
        same, of = agreement(judged) or (0, 0)
        agreed, samples = agreed + same, samples + of
        alternatives += bool(production.logprobs and all(token.top for token in production.logprobs))
    return PilotResult(
        rows=pilot.rows,
        unanswered=pilot.unanswered,
        accepted=Share(sum(accepted), len(accepted)),
        correct=Share(sum(correct), len(correct)),
        consistent=Share(agreed, samples),
        with_alternatives=alternatives,
        rejections=pilot.rejections,
        examples=pilot.examples,
    )


def check_pilot(pilot: PilotResult, min_accepted: float) -> None:
    """Stop if even the optimistic end of the interval is too low.

    Raises: StageFailed(PilotRejected).
    """
    share = pilot.accepted
    if not share.rows or share.upper >= min_accepted:
        return
    counts = "; ".join(
        f"{rule}: {reason} ({count}, for example row {pilot.examples[rule, reason][0][0]!r}: "
        f"{pilot.examples[rule, reason][0][1]!r})"
        for (rule, reason), count in pilot.rejections.most_common(EXAMPLES)
    )
    what = f"only {share.hits} of {share.rows} pilot answers pass the filter's rules"
    bound = f"at most {share.upper:.0%} would overall, less than {min_accepted:.0%}"
    repair = (
        "improve spec.task.systemPrompt or spec.teacher.parameters, or lower spec.teacher.pilot.minAccepted"
    )
    raise StageFailed("PilotRejected", f"{what} ({bound}): {counts} → {repair}", "pilot")


def pilot_warning(pilot: PilotResult, expected_discard: float) -> str | None:
    """Return a warning if fewer answers pass than the filter expects."""
    share = pilot.accepted
    if share.value is None or share.value >= 1 - expected_discard:
        return None
    reasons = ", ".join(
        f"{rule}: {reason} ({count})" for (rule, reason), count in pilot.rejections.most_common(3)
    )
    wanted = f"spec.filter.discard.expected wants at least {1 - expected_discard:.0%}"
    return f"{share.hits} of {share.rows} pilot answers pass the filter's rules, {wanted}: {reasons}"


def _judged(row: Row, production: Answer, extra: Sequence[Result], output: Output) -> Judged:
    return Judged(
        row_id=row["row_id"],
        split=row["split"],
        text=production.text,
        finish_reason=production.finish_reason,
        refusal=production.refusal,
        completion_tokens=production.usage.completion,
        output=output,
        extra=tuple(result.text for result in extra if isinstance(result, Answer)),
    )


def _note(pilot: PilotResult, rejection: Rejection, answer: Answer) -> None:
    name = (rejection.rule, rejection.reason)
    pilot.rejections[name] += 1
    examples = pilot.examples.setdefault(name, [])
    if len(examples) < EXAMPLES:
        text = answer.refusal or answer.text
        examples.append((answer.question.row_id, text[:EXAMPLE_CHARACTERS]))
