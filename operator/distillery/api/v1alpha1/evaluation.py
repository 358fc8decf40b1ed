"""The `evaluation` section: what is measured on the test split and which gates must hold."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from distillery.api.base import ApiModel
from distillery.api.v1alpha1.common import Seed

Metric = Literal["accuracy", "macroF1", "exactMatch", "chrF"]


class RetentionGate(ApiModel):
    """How much of the teacher's quality the student must keep, with confidence."""

    min: Annotated[float, Field(gt=0, le=2)] = 0.95
    """Smallest retention."""
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    """Of the one-sided lower bound that is compared with min."""
    basis: Literal["reference", "teacher"] | None = None
    """Compare both with the reference, or student with teacher; omitted: reference if rows have one."""


class SlicesGate(ApiModel):
    """A floor for every slice."""

    min_retention: Annotated[float, Field(gt=0, le=2)]
    """A slice fails when its upper bound lies below."""
    undecided: Literal["warn", "block"] = "warn"
    """What to do about slices with too few rows."""


class LatencyGate(ApiModel):
    """A ceiling on how long the student takes for one row."""

    p95_ms: Annotated[float, Field(gt=0)]
    """Milliseconds, batch size 1."""


class Gates(ApiModel):
    """Conditions on the evaluation; all must pass for a release."""

    retention: RetentionGate | None = None
    """Overall quality."""
    slices: SlicesGate | None = None
    """Quality of each slice."""
    latency: LatencyGate | None = None
    """Speed."""


class Evaluation(ApiModel):
    """Measured on test rows that neither data generation nor training has seen."""

    metrics: Annotated[list[Metric], Field(min_length=1, max_length=4)] | None = None
    """Metrics to report; omitted: accuracy and macroF1 for labels, exactMatch for json, chrF for text."""
    gates: Gates = Gates()
    """What must hold."""
    noise_rows: Annotated[int, Field(ge=0, le=200)] = 200
    """Test rows asked a second time, to measure how much the teacher disagrees with itself, and timed."""
    seed: Seed = 17
    """Seed of resampling."""
