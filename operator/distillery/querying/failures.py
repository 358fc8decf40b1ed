"""The sentences with which asking a teacher ends badly: what happened, and what to do. Pure."""

from __future__ import annotations

from typing import assert_never

from distillery.api.teacher_settings import TeacherSettings, show_url
from distillery.errors import StageFailed
from distillery.querying.cost import format_amount, to_micro
from distillery.querying.limits import BudgetAccount
from distillery.querying.retry import TeacherDown, TeacherRefuses

_REPAIRS = {
    401: "supply a valid key in spec.teacher.endpoint.apiKeySecret",
    402: "settle the account at the provider, then run again: answers bought so far are kept",
    403: "use a key that may use spec.teacher.model, in spec.teacher.endpoint.apiKeySecret",
    404: "correct spec.teacher.endpoint.url (up to and including the version) or spec.teacher.model",
    405: "correct spec.teacher.endpoint.url (up to and including the version)",
    429: "raise the quota at the provider, then run again: answers bought so far are kept",
}
_WHEREVER = "correct spec.teacher.endpoint"


def ending(settings: TeacherSettings, end: TeacherDown | TeacherRefuses) -> StageFailed:
    """Return what a stage fails with when asking ends for the teacher's sake."""
    match end:
        case TeacherDown(seconds=seconds, message=message):
            return unavailable(settings, seconds, message)
        case TeacherRefuses(row_id=row_id, message=message, status=status):
            if status is None:
                return rejects_everything(settings, message)
            return access_denied(settings, status, row_id, message)
        case _:
            assert_never(end)


def access_denied(settings: TeacherSettings, status: int, row: str, message: str) -> StageFailed:
    """The teacher turns every call away; `row` is the id of the one that says so."""
    if status == 401 and settings.api_key_secret is None:
        repair = "name the Secret with the key in spec.teacher.endpoint.apiKeySecret"
    else:
        repair = _REPAIRS.get(status, "correct spec.teacher.endpoint.url" if status < 400 else _WHEREVER)
    return StageFailed("TeacherRefused", f"{_who(settings)} refuses row {row!r}: {message} → {repair}")


def rejects_everything(settings: TeacherSettings, message: str) -> StageFailed:
    """No request of this kind is acceptable."""
    repair = "correct spec.teacher.parameters, or spec.task, to what this teacher supports"
    return StageFailed("TeacherRefused", f"{_who(settings)} accepts no request: {message} → {repair}")


def unavailable(settings: TeacherSettings, seconds: float, message: str) -> StageFailed:
    """The teacher has not answered for too long."""
    what = f"{_who(settings)} has not answered for {seconds:.0f} s; last: {message}"
    repair = "check spec.teacher.endpoint.url and the server, then run again: answers bought so far are kept"
    return StageFailed("TeacherUnavailable", f"{what} → {repair}", "infrastructure")


def budget_reached(settings: TeacherSettings, budget: BudgetAccount, needed: int, left: int) -> StageFailed:
    """The next call might exceed the budget."""
    parts = [f"{_money(settings, budget.spent)} are spent"]
    if budget.set_aside:
        parts.append(f"{_money(settings, budget.set_aside)} are set aside for the evaluation")
    parts.append(f"the next call may cost up to {_money(settings, needed)}")
    what = f"{left} question(s) are not asked: of {_money(settings, budget.limit or 0)}, {', '.join(parts)}"
    repair = "raise spec.budget.maxCost and run again: answers bought so far are kept and cost nothing"
    return StageFailed("BudgetReached", f"{what} → {repair}", "budget")


def beyond_budget(settings: TeacherSettings, budget: BudgetAccount, lower: int) -> StageFailed:
    """Even the lowest estimate does not fit."""
    least = f"the rest costs at least {_money(settings, lower)}"
    what = f"nothing is asked: {least}, {_money(settings, budget.spent)} are spent"
    limit = _money(settings, budget.limit or 0)
    repair = f"raise spec.budget.maxCost above {limit}, or lower spec.dataset.limit"
    return StageFailed("BudgetReached", f"{what}, the budget is {limit} → {repair}", "budget")


def _who(settings: TeacherSettings) -> str:
    return f"teacher {settings.model!r} at {show_url(settings.url)}"


def _money(settings: TeacherSettings, picos: int) -> str:
    return format_amount(to_micro(picos), settings.currency)
