"""The report's drawings as numbers: hero interval, training curve, calibration, confusion, funnel. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from distillery.stages.evaluation.evidence import Document, Evidence
from distillery.stages.evaluation.report.scales import Scale, polyline, scale_around, thinned, ticks
from distillery.stages.evaluation.report.wording import percent

MATRIX_MOST = 20
"""With more labels the confusion is shown as a list of the most frequent mistakes."""
MISTAKES_MOST = 20
CURVE_POINTS = 240


@dataclass(frozen=True, slots=True)
class Hero:
    """The retention with its interval on a line; positions are percent of the width."""

    low: float
    high: float
    value: float
    lower: float
    demanded: float | None
    full: float
    ticks: list[tuple[float, str]]


def hero(evidence: Evidence) -> Hero | None:
    """Return the drawing of the overall figure, None where nothing was measured."""
    overall = evidence.metrics["overall"]
    if overall["value"] is None:
        return None
    gate = evidence.params.evaluation.gates.retention
    demanded = None if gate is None else gate.min
    low, high = overall["interval"]
    scale = scale_around([low, high, demanded, 1.0], margin=0.12)
    return Hero(
        low=scale.at(low),
        high=scale.at(high),
        value=scale.at(overall["value"]),
        lower=scale.at(overall["lower"]),
        demanded=None if demanded is None else scale.at(demanded),
        full=scale.at(1.0),
        ticks=[(scale.at(tick), percent(tick, 0 if _whole(tick) else 1)) for tick in ticks(scale, 4)],
    )


def _whole(share: float) -> bool:
    return abs(100 * share - round(100 * share)) < 1e-6


@dataclass(frozen=True, slots=True)
class Curve:
    """Loss over steps in a box of 100 × 100; `best` is where the kept weights are."""

    training: str
    validation: str
    marks: list[tuple[float, float]]
    best: float | None
    across: list[tuple[float, str]]
    up: list[tuple[float, str]]
    summary: str


def training_curve(log: Sequence[Document], training: Document) -> Curve | None:
    """Return the course of the training, None for one without steps."""
    losses = [(float(row["step"]), row["train_loss"]) for row in log if row["train_loss"] is not None]
    checks = [
        (float(row["step"]), row["validation_loss"]) for row in log if row["validation_loss"] is not None
    ]
    if len(losses) < 2:
        return None
    losses = thinned(losses, CURVE_POINTS)
    steps, values = [x for x, _ in losses + checks], [y for _, y in losses + checks]
    across = Scale(0.0, max(steps))
    up = scale_around([0.0, *values], margin=0.04)
    best = training["steps"]["best"]
    return Curve(
        training=polyline(losses, across, up),
        validation=polyline(checks, across, up),
        marks=[(across.at(x), round(100 - up.at(y), 2)) for x, y in checks],
        best=None if not checks else across.at(best),
        across=[(across.at(tick), f"{tick:,.0f}") for tick in ticks(across, 5)],
        up=[(round(100 - up.at(tick), 2), f"{tick:g}") for tick in ticks(up, 4)],
        summary=_course(losses, checks, best),
    )


def _course(losses: Sequence[tuple[float, float]], checks: Sequence[tuple[float, float]], best: int) -> str:
    text = f"Training loss falls from {losses[0][1]:.3g} to {losses[-1][1]:.3g}"
    if not checks:
        return text + "."
    lowest = min(y for _, y in checks)
    return f"{text}; validation loss reaches {lowest:.3g}; the weights of step {best:,} were kept."


@dataclass(frozen=True, slots=True)
class Dot:
    """One bin of similar confidence, in a box of 100 × 100."""

    x: float
    y: float
    rows: int
    text: str


def reliability(calibration: Document | None) -> list[Dot]:
    """Return the bins of the calibration: how sure against how often right."""
    if calibration is None:
        return []
    return [
        Dot(
            x=round(100 * part["confidence"], 2),
            y=round(100 - 100 * part["accuracy"], 2),
            rows=part["rows"],
            text=f"{percent(part['confidence'], 0)} sure, {percent(part['accuracy'], 0)} right, {part['rows']} rows",
        )
        for part in calibration["bins"]
    ]


@dataclass(frozen=True, slots=True)
class Cell:
    """Rows with one truth and one answer; `strength` is the share of the truth's rows."""

    rows: int
    strength: float
    right: bool


@dataclass(frozen=True, slots=True)
class Confusion:
    """A matrix for few labels, or the most frequent mistakes for many."""

    labels: list[str]
    """Columns; the last may be `no answer`."""
    matrix: list[tuple[str, list[Cell]]]
    mistakes: list[Mapping[str, Any]]


def confusion(document: Document | None) -> Confusion | None:
    """Return who is mistaken for whom, None without labels or rows."""
    if document is None or not document["pairs"]:
        return None
    pairs = {(pair["truth"], pair["answer"]): pair["rows"] for pair in document["pairs"]}
    wrong = [pair for pair in document["pairs"] if pair["truth"] != pair["answer"]]
    mistakes = sorted(wrong, key=lambda pair: -pair["rows"])[:MISTAKES_MOST]
    labels: list[str | None] = list(document["labels"])
    if len(labels) > MATRIX_MOST:
        return Confusion([], [], mistakes)
    columns = labels + ([None] if any(answer is None for _, answer in pairs) else [])
    matrix = []
    for truth in document["labels"]:
        counts = [pairs.get((truth, answer), 0) for answer in columns]
        total = max(1, sum(counts))
        cells = [
            Cell(n, round(n / total, 3), truth == column) for n, column in zip(counts, columns, strict=True)
        ]
        matrix.append((truth, cells))
    return Confusion([label or "no answer" for label in columns], matrix, mistakes)


@dataclass(frozen=True, slots=True)
class Bar:
    """One level of the funnel."""

    label: str
    rows: int
    width: float
    note: str = ""


def funnel(evidence: Evidence) -> list[Bar]:
    """Return the way from rows read to rows learnt from."""
    read, counts = evidence.coverage["funnel"], evidence.funnel
    inputs = evidence.coverage["rows"]
    dropped = read["duplicates"] + sum(read["nearDuplicates"].values())
    notes = [f"{dropped:,} duplicates removed" if dropped else "no duplicates"]
    if read["beyondLimit"]:
        notes.append(f"{read['beyondLimit']:,} beyond the limit")
    answered = counts["asked"] - counts["failed"]
    held_back = inputs - counts["asked"]
    levels = [
        ("Rows read", read["read"], ""),
        ("Different requests", inputs, ", ".join(notes)),
        ("Put to the teacher", counts["asked"], f"{held_back:,} kept apart for this test"),
        ("Answered", answered, f"{counts['failed']:,} failed" if counts["failed"] else "none failed"),
        ("Kept", counts["kept"], f"{counts['rejected']:,} rejected by the rules"),
    ]
    whole = max(1, *(rows for _, rows, _ in levels))
    return [Bar(label, rows, round(100 * rows / whole, 2), note) for label, rows, note in levels]
