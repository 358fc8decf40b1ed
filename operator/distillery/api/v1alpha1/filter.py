"""The `filter` section: which teacher answers are worth learning from."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from distillery.api.base import ApiModel
from distillery.api.v1alpha1.common import Fraction, Name


class FormatRule(ApiModel):
    """The answer has the task's output format: a label, valid JSON (of the schema), or non-empty text."""


class LengthRule(ApiModel):
    """The answer ended by itself and is no longer than allowed."""

    max_tokens: Annotated[int, Field(ge=1, le=131072)] | None = None
    """Longest answer in the teacher's tokens; omitted: only truncated answers are rejected."""


class RefusalRule(ApiModel):
    """The answer is no refusal."""

    patterns: Annotated[list[Name], Field(max_length=32)] = []
    """Regular expressions beside the built-in ones, searched case-insensitively."""


class ConsistencyRule(ApiModel):
    """The teacher's extra samples agree with its production answer; label and json only."""

    min_agreement: Fraction = 0.5
    """Smallest share of extra samples equal to the production answer."""


class Rule(ApiModel):
    """One rule: exactly one of format, length, refusal, consistency."""

    format: FormatRule | None = None
    """Check the output format."""
    length: LengthRule | None = None
    """Check length and finish reason."""
    refusal: RefusalRule | None = None
    """Check for refusals."""
    consistency: ConsistencyRule | None = None
    """Check agreement between samples."""


class Discard(ApiModel):
    """How much discarding is normal, and how much is too much."""

    expected: Annotated[list[Fraction], Field(min_length=2, max_length=2)] = [0.0, 0.20]
    """Range of the discarded share that raises no warning; ends at or below max."""
    max: Fraction = 0.5
    """Discarded share from which the job stops."""


class Review(ApiModel):
    """A stratified sample of answers for people to look at."""

    sample: Annotated[int, Field(ge=0, le=1000)] = 50
    """Rows in the sample."""
    required: bool = False
    """Wait after the filter until a person approves: annotation `distillery.dev/approve-review: <filter identity>`."""


class Filter(ApiModel):
    """Rules in order; a row is rejected by the first that gives a reason."""

    rules: Annotated[list[Rule], Field(min_length=1, max_length=16)] = [
        Rule(format=FormatRule()),
        Rule(length=LengthRule()),
        Rule(refusal=RefusalRule()),
    ]
    """Ordered rules; omitted: format, length, refusal."""
    discard: Discard = Discard()
    """Bounds of the discarded share."""
    review: Review = Review()
    """Sample for people."""
