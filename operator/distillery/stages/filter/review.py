"""The review sample: answers for people to look at, stratified by outcome and slice. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from distillery.stages.filter.candidates import Decision
from distillery.stages.filter.discarding import order


def review_sample(decisions: Iterable[Decision], size: int) -> list[dict[str, Any]]:
    """Return up to `size` rows for a reviewer: kept ones first, then rejected ones, each sorted by row id.

    Half are kept rows, spread over the slices, and half rejected ones, spread over reasons and slices; what
    one half lacks goes to the other. Calls that failed have no answer to look at. The choice follows from a
    hash of the row id: it is the same on every run, and most of it stays when rows are added.
    """
    ordered = sorted(decisions, key=lambda decision: order(decision.candidate.row_id))
    kept = [decision for decision in ordered if decision.outcome == "kept"]
    rejected = [decision for decision in ordered if decision.outcome == "rejected"]
    places = min(len(rejected), max(size // 2, size - len(kept)))
    chosen = _spread(kept, size - places), _spread(rejected, places)
    return [_row(decision) for half in chosen for decision in sorted(half, key=_row_id)]


def _spread(decisions: Sequence[Decision], size: int) -> list[Decision]:
    """Take turns between the strata, the first of each in the given order, until `size` rows are chosen."""
    strata: defaultdict[tuple[str, str, str], list[Decision]] = defaultdict(list)
    for decision in decisions:
        for name in decision.candidate.slices or [""]:
            strata[decision.rule or "", decision.reason or "", name].append(decision)
    queues = [iter(strata[key]) for key in sorted(strata)]
    chosen: dict[str, Decision] = {}
    while queues and len(chosen) < size:
        for queue in list(queues):
            found = next((one for one in queue if _row_id(one) not in chosen), None)
            if found is None:
                queues.remove(queue)
            elif len(chosen) < size:
                chosen[_row_id(found)] = found
    return list(chosen.values())


def _row_id(decision: Decision) -> str:
    return decision.candidate.row_id


def _row(decision: Decision) -> dict[str, Any]:
    candidate = decision.candidate
    return {
        "row_id": candidate.row_id,
        "messages": candidate.input["messages"],
        "answer": decision.answer if decision.rule is None else candidate.judged.text,
        "reference": candidate.input["reference"],
        "slices": list(candidate.slices),
        "outcome": decision.outcome,
        "rule": decision.rule,
        "reason": decision.reason,
        "verdict": None,
    }
