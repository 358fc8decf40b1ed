"""How figures and verdicts are said in the report. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from distillery.stages.evaluation.evidence import Document

DASH = "–"
SPACE = "\u202f"
"""Narrow no-break space, between a figure and its unit."""


def percent(share: float | None, digits: int = 1) -> str:
    """Return a share as percent."""
    return DASH if share is None else f"{100 * share:.{digits}f}{SPACE}%"


def interval(ends: Sequence[float] | None) -> str:
    """Return two shares as a range of percent."""
    return DASH if ends is None else f"{100 * ends[0]:.1f} to {percent(ends[1])}"


def points(difference: float) -> str:
    """Return a difference of shares in percentage points, with its sign."""
    return f"{100 * difference:+.1f}".replace("-", "−")


def number(count: float | None) -> str:
    """Return a whole number with separators."""
    return DASH if count is None else f"{count:,.0f}".replace(",", SPACE)


def milliseconds(value: float | None) -> str:
    """Return a duration with three digits."""
    if value is None:
        return DASH
    if value >= 1000:
        return f"{value / 1000:.3g}{SPACE}s"
    return f"{value:.0f}{SPACE}ms" if value >= 100 else f"{value:.3g}{SPACE}ms"


def money(amount: str | None, currency: str) -> str:
    """Return an amount with cents, or with two digits that count where it is smaller."""
    if amount is None:
        return DASH
    value = Decimal(amount)
    if value == 0 or abs(value) >= Decimal("0.1"):
        return f"{value:,.2f}".replace(",", SPACE) + f" {currency}"
    return f"{value:.{1 - value.adjusted()}f} {currency}"


def size(count: int) -> str:
    """Return a number of bytes."""
    return f"{count / 1e6:,.1f}{SPACE}MB" if count < 1e9 else f"{count / 1e9:,.2f}{SPACE}GB"


def parameters(count: int) -> str:
    """Return a number of weights."""
    if count < 1e6:
        return f"{count / 1e3:.0f}{SPACE}k"
    return f"{count / 1e6:.1f}{SPACE}M" if count < 1e9 else f"{count / 1e9:.1f}{SPACE}B"


VERDICTS: dict[str, str] = {"passed": "Passed", "failed": "Failed", "undecided": "Undecided"}
GATES = {
    "retention": "Quality",
    "slices": "Slices",
    "latency": "Speed",
    "teacherFailures": "Answered by the teacher",
}
METRICS = {
    "accuracy": "Accuracy",
    "macroF1": "Macro F1 (all labels count alike)",
    "exactMatch": "Exact match",
    "chrF": "chrF (likeness of characters)",
}


def headline(metrics: Document) -> str:
    """Return the one sentence that everybody reads."""
    value = metrics["overall"]["value"]
    if value is None:
        return "Nothing could be compared"
    if metrics["basis"] == "reference":
        verb = "keeps" if value <= 1 else "reaches"
        return f"The student {verb} {percent(value)} of the teacher’s quality"
    return f"The student gives the teacher’s answer to {percent(value)} of requests"


def explanation(verdict: Document, metrics: Document) -> str:
    """Return what the headline rests on, and which gates stand in the way."""
    overall = metrics["overall"]
    groups = "" if overall["units"] == overall["rows"] else f" in {number(overall['units'])} groups"
    against = "known answers" if metrics["basis"] == "reference" else "the teacher’s answers"
    rows = f"{number(overall['rows'])} requests{groups}"
    based = f"Measured on {rows} that the student had never seen, against {against}."
    return f"{based} {_outcome(verdict['verdict'], verdict['gates'])}"


def _outcome(verdict: str, gates: Sequence[Mapping[str, Any]]) -> str:
    names = {
        result: ", ".join(
            GATES[gate["name"]].lower() for gate in gates if gate["result"] == result and _counts(gate)
        )
        for result in VERDICTS
    }
    if verdict == "failed":
        return f"Not good enough yet: {names['failed']}."
    if verdict == "undecided":
        return f"Not enough evidence yet: {names['undecided']}."
    if [gate["name"] for gate in gates] == ["teacherFailures"]:
        return "No gate on quality was set, so this is a measurement rather than a proof."
    if any(gate["result"] == "undecided" for gate in gates):
        return "Every gate that can hold it back is met; there is a warning."
    return "Every gate is met."


def _counts(gate: Mapping[str, Any]) -> bool:
    return gate["result"] != "undecided" or bool(gate["blocks"])
