"""cost.json: what the teacher costs per 1,000 requests, and when the bill of this student has paid off. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from distillery.api.teacher_settings import TeacherSettings
from distillery.querying import PICOS_PER_MICRO, Prices, Usage
from distillery.stages.evaluation.rows import TeacherAnswer

COST_VERSION = 1
ASSUMPTION = (
    "Prices are the job's own. What serving the student costs is not included: "
    "that depends on the machine it runs on."
)
_PICOS = Decimal(10**6 * PICOS_PER_MICRO)


def cost_document(
    settings: TeacherSettings,
    first_pass: Sequence[TeacherAnswer],
    bought: Iterable[Usage],
    monthly_requests: int | None,
) -> dict[str, Any]:
    """Return the document; amounts are decimal strings in the job's currency.

    Args:
        settings: prices and currency; without prices only tokens are reported, without tokens nothing.
        first_pass: production's answers to the test rows: what a request costs.
        bought: tokens of every answer that this student needed, whether paid by this job or found in the cache.
        monthly_requests: production traffic, for savings.
    """
    answered = [_usage(answer) for answer in first_pass if answer.status == "answered"]
    # A teacher that does not tell its tokens is not free.
    usages = [usage for usage in answered if usage.prompt or usage.completion]
    document: dict[str, Any] = {
        "version": COST_VERSION,
        "currency": settings.currency,
        "tokensPerRequest": _tokens(usages),
        "teacherPerThousand": None,
        "bill": None,
        "breakEvenRequests": None,
        "monthly": None,
        "assumption": ASSUMPTION,
    }
    if settings.pricing is None or not usages:
        return document
    prices = Prices.of(settings.pricing)
    each = Decimal(sum(prices.cost(usage) for usage in usages)) / len(usages) / _PICOS
    bill = Decimal(sum(prices.cost(usage) for usage in bought)) / _PICOS
    document["teacherPerThousand"] = _money(each * 1000)
    document["bill"] = _money(bill)
    if each:
        document["breakEvenRequests"] = int((bill / each).to_integral_value("ROUND_CEILING"))
    if monthly_requests is not None:
        document["monthly"] = _monthly(monthly_requests, each, bill)
    return document


def usages_of(completions: Iterable[Mapping[str, Any]]) -> list[Usage]:
    """Return the tokens of rows of completions.parquet, failed but paid ones included."""
    return [
        Usage(row["prompt_tokens"] or 0, row["cached_prompt_tokens"] or 0, row["completion_tokens"] or 0)
        for row in completions
    ]


def usage_of_answers(answers: Iterable[TeacherAnswer]) -> list[Usage]:
    """Return the tokens of answers given here."""
    return [_usage(answer) for answer in answers]


def _usage(answer: TeacherAnswer) -> Usage:
    return Usage(answer.prompt_tokens, answer.cached_prompt_tokens, answer.completion_tokens)


def _tokens(usages: Sequence[Usage]) -> dict[str, float] | None:
    if not usages:
        return None
    return {
        "prompt": round(sum(usage.prompt for usage in usages) / len(usages), 2),
        "cachedPrompt": round(sum(usage.cached for usage in usages) / len(usages), 2),
        "completion": round(sum(usage.completion for usage in usages) / len(usages), 2),
    }


def _monthly(requests: int, each: Decimal, bill: Decimal) -> dict[str, Any]:
    cost = each * requests
    return {
        "requests": requests,
        "teacher": _money(cost),
        "breakEvenDays": round(float(bill / cost * 30), 1) if cost else None,
        "firstYearSavings": _money(cost * 12 - bill),
    }


def _money(amount: Decimal) -> str:
    """Return an amount with cents, and with four digits where cents are too coarse."""
    small = abs(amount) < 1
    return f"{amount:.6f}" if small else f"{amount:.2f}"
