"""The section `task`: production's own contract."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from distillery.api.base import ApiModel
from distillery.api.v1alpha1.common import FreeForm, Name, Text


class Output(ApiModel):
    """What an answer looks like."""

    format: Literal["label", "json", "text"]
    """`label`: one of labels; `json`: a JSON value, of schema if given; `text`: free text."""
    labels: Annotated[list[Name], Field(min_length=2, max_length=1000)] | None = None
    """The answers of a label task."""
    schema_: FreeForm | None = Field(default=None, alias="schema")
    """JSON schema of a json task."""


class Task(ApiModel):
    """Production's own contract: the same prompt reaches teacher, student and serving."""

    system_prompt: Text | None = None
    """System message put before every row."""
    output: Output
    """What an answer looks like."""
    monthly_requests: Annotated[int, Field(ge=1, le=10**12)] | None = None
    """Production traffic, for break-even and savings."""
