"""Plan + observed + now → one Decision."""

from __future__ import annotations

from distillery.planning.decision import Decision
from distillery.planning.frontier import frontier_of
from distillery.planning.observed import Observed
from distillery.planning.plan import Plan
from distillery.planning.policies import CHECKS
from distillery.planning.situation import Situation


def decide(plan: Plan, observed: Observed, now: float) -> Decision:
    """Return what to do next. Pure: the same facts give the same decision.

    Args:
        plan: what the spec asks for.
        observed: what is known.
        now: seconds since the epoch.
    """
    situation = Situation(plan, frontier_of(plan, observed), observed, now)
    for check in CHECKS:
        decision = check(situation)
        if decision is not None:
            return decision
    raise AssertionError("the last check always decides")
