"""Builders for tests that ask a fake teacher."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from distillery.api.teacher_settings import TeacherSettings
from distillery.api.v1alpha1.task import Output
from distillery.api.v1alpha1.teacher import Parameters, Pricing, RateLimits
from distillery.artifacts.store import ObjectStore
from distillery.querying import EngineOptions, Question, TeacherEngine

PRICING = Pricing(prompt_per_million=Decimal("2.50"), completion_per_million=Decimal("10.00"))
KEY = "sk-planted-7c9e6679f7425"
QUICK = EngineOptions(
    timeout_seconds=5,
    backoff_seconds=0.01,
    longest_backoff_seconds=0.05,
    outage_seconds=0.6,
    startup_seconds=0.3,
    drain_seconds=2,
)


def make_settings(url: str = "http://127.0.0.1:9/v1", **changes: Any) -> TeacherSettings:
    """Settings of a label teacher; `changes` replace fields."""
    fields: dict[str, Any] = {
        "identity": "teacher@test",
        "model": "large",
        "output": Output(format="label", labels=["billing", "login", "refund"]),
        "url": url,
        "parameters": Parameters(max_tokens=16, top_logprobs=5),
        "rate_limits": RateLimits(concurrency=8),
        "pricing": PRICING,
    }
    return TeacherSettings(**(fields | changes))


def make_questions(count: int, start: int = 0) -> list[Question]:
    """Questions about distinct tickets."""
    topics = ("the invoice is wrong", "my password is lost", "I want a refund")
    return [make_question(number, topics[number % 3]) for number in range(start, start + count)]


def make_question(number: int, topic: str = "the invoice is wrong", sample_index: int = 0) -> Question:
    """One question; the number makes it unique."""
    messages = [
        {"role": "system", "content": "Route it."},
        {"role": "user", "content": f"#{number}: {topic}"},
    ]
    return Question(f"r{number:05}", messages, sample_index)


def make_engine(
    settings: TeacherSettings,
    store: ObjectStore,
    *,
    stage: str = "teacher",
    attempt: int = 1,
    key: str | None = None,
    options: EngineOptions = QUICK,
) -> TeacherEngine:
    """An impatient engine."""
    return TeacherEngine(settings, store, "job-1", stage, attempt, key, options)


def bill_micro(bill: Sequence[dict[str, Any]], pricing: Pricing = PRICING) -> Decimal:
    """What a bill of the fake teacher comes to, in micros, exactly."""
    cached_price = pricing.cached_prompt_per_million
    if cached_price is None:
        cached_price = pricing.prompt_per_million
    return sum(
        (
            (call["prompt"] - call["cached"]) * pricing.prompt_per_million
            + call["cached"] * cached_price
            + call["completion"] * pricing.completion_per_million
            for call in bill
        ),
        Decimal(0),
    )
