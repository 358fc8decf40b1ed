"""The `teacher` section: the model that answers, how it is asked, what it may cost."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from distillery.api.base import ApiModel
from distillery.api.v1alpha1.common import Fraction, Money, Name, SecretKey, Url, Workers


class Endpoint(ApiModel):
    """An OpenAI-compatible HTTP endpoint."""

    url: Url
    """Base URL up to and including the version, for example `https://api.example.com/v1`."""
    api_key_secret: SecretKey | None = None
    """Secret that holds the key sent as a bearer token."""


class Parameters(ApiModel):
    """Sampling parameters: production's own, since the student learns what production would have answered."""

    temperature: Annotated[float, Field(ge=0, le=2)] = 0.0
    """Sampling temperature."""
    max_tokens: Annotated[int, Field(ge=1, le=131072)] = 512
    """Longest answer in tokens."""
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    """Nucleus sampling."""
    stop: Annotated[list[Name], Field(max_length=4)] | None = None
    """Strings that end the answer."""
    seed: Annotated[int, Field(ge=-(2**63), le=2**63 - 1)] | None = None
    """Seed passed to the teacher."""
    top_logprobs: Annotated[int, Field(ge=0, le=20)] = 0
    """Alternatives per token to keep; needed for soft labels."""


class Samples(ApiModel):
    """Extra answers on training rows: how much the teacher agrees with itself. Never training targets."""

    extra: Annotated[int, Field(ge=1, le=16)]
    """How many beside the production answer."""
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.7
    """Temperature of the extra answers."""


class RateLimits(ApiModel):
    """Caps on how fast the teacher is asked."""

    requests_per_minute: Annotated[int, Field(ge=1, le=10**6)] | None = None
    """Calls started per minute, evenly paced."""
    concurrency: Annotated[int, Field(ge=1, le=1024)] = 16
    """Calls under way at once."""


class Pricing(ApiModel):
    """Prices per million tokens in the budget's currency."""

    prompt_per_million: Money
    """Prompt tokens."""
    cached_prompt_per_million: Money | None = None
    """Prompt tokens the provider served from its cache; omitted: as prompt tokens."""
    completion_per_million: Money
    """Completion tokens."""


class Pilot(ApiModel):
    """A few rows first: a wrong prompt or a useless teacher stops for cents."""

    rows: Annotated[int, Field(ge=1, le=1024)] = 64
    """Training rows of the pilot, stratified by slice."""
    min_accepted: Fraction | None = None
    """Share of answers that must pass the filter's rules; omitted: 1 − filter.discard.max."""


class Teacher(ApiModel):
    """The large model whose answers are to be learnt."""

    model: Name
    """Model name sent to the endpoint."""
    endpoint: Endpoint
    """Where it is asked."""
    identity: Name | None = None
    """Names the teacher in the answer cache; omitted: endpoint URL + model."""
    revision: Name | None = None
    """Change it to buy again when an alias has moved to another model."""
    parameters: Parameters = Parameters()
    """How it is asked."""
    samples: Samples | None = None
    """Extra answers for the consistency rule."""
    rate_limits: RateLimits = RateLimits()
    """How fast it is asked."""
    pricing: Pricing | None = None
    """What it costs; required by budget.maxCost."""
    pilot: Pilot = Pilot()
    """The rows asked first."""
    max_failed: Fraction = 0.02
    """Share of rows that may stay unanswered."""
    workers: Workers | None = None
    """Pods that ask at the same time, under one common limit; omitted: the head pod asks."""
