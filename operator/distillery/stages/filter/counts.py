"""counts.json: what was asked, kept, rejected and failed, by rule, reason, slice and split. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from distillery.api.v1alpha1.filter import Discard
from distillery.rules.label_distribution import LabelDistribution
from distillery.stages.filter.candidates import Decision

COUNTS_VERSION = 1

Distributions = Mapping[str, LabelDistribution]
"""Label distributions of kept rows by row id, usable or not."""


def count(
    decisions: Sequence[Decision], discard: Discard, labels: Sequence[str], soft: Distributions
) -> dict[str, Any]:
    """Return the document; docs/stages/filter.md describes it."""
    overall = funnel(decisions)
    low, high = discard.expected
    splits = _grouped((decision.candidate.judged.split, decision) for decision in decisions)
    slices = _grouped((name, decision) for decision in decisions for name in decision.candidate.slices)
    return {
        "version": COUNTS_VERSION,
        **overall,
        "expected": [low, high],
        "max": discard.max,
        "withinExpected": low <= overall["discardShare"] <= high,
        "splits": {name: funnel(group) for name, group in splits.items()},
        "slices": {name: funnel(group) for name, group in slices.items()},
        "rules": _by_reason(decisions),
        "answers": _answers(splits.get("train", []), labels),
        "softLabels": _soft(decisions, labels, soft),
    }


def funnel(decisions: Iterable[Decision]) -> dict[str, Any]:
    """Return asked = kept + rejected + failed, and the rejected share of what was answered (0 to 1)."""
    outcomes = Counter(decision.outcome for decision in decisions)
    kept, rejected, failed = outcomes["kept"], outcomes["rejected"], outcomes["failed"]
    answered = kept + rejected
    return {
        "asked": answered + failed,
        "kept": kept,
        "rejected": rejected,
        "failed": failed,
        "discardShare": rejected / answered if answered else 0.0,
    }


def _grouped(named: Iterable[tuple[str, Decision]]) -> dict[str, list[Decision]]:
    groups: defaultdict[str, list[Decision]] = defaultdict(list)
    for name, decision in named:
        groups[name].append(decision)
    return dict(sorted(groups.items()))


def _by_reason(decisions: Sequence[Decision]) -> list[dict[str, Any]]:
    """Return one entry per rule and reason, the most frequent first."""
    dropped: defaultdict[tuple[str, str], list[Decision]] = defaultdict(list)
    for decision in decisions:
        if decision.rule is not None:
            dropped[decision.rule, decision.reason or ""].append(decision)
    return [
        {
            "rule": rule,
            "reason": reason,
            "rows": len(group),
            "splits": _tally(decision.candidate.judged.split for decision in group),
            "slices": _tally(name for decision in group for name in decision.candidate.slices),
        }
        for (rule, reason), group in sorted(dropped.items(), key=lambda entry: (-len(entry[1]), entry[0]))
    ]


def _tally(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))


def _answers(training: Iterable[Decision], labels: Sequence[str]) -> dict[str, int]:
    """Return how many kept training rows have each label as their target, in the task's order."""
    targets = Counter(decision.answer for decision in training)
    return {label: targets[label] for label in labels}


def _soft(decisions: Iterable[Decision], labels: Sequence[str], soft: Distributions) -> dict[str, Any]:
    answers = {decision.candidate.row_id: decision.answer for decision in decisions if decision.rule is None}
    usable = {row_id: found for row_id, found in soft.items() if found.usable}
    return {
        "rows": len(usable),
        "share": len(usable) / len(answers) if answers else 0.0,
        "withLogprobs": len(soft),
        "meanCoverage": fmean(found.resolved for found in soft.values()) if soft else 0.0,
        "meanUnresolved": fmean(found.unresolved for found in soft.values()) if soft else 0.0,
        "meanTail": fmean(found.tail for found in soft.values()) if soft else 0.0,
        "otherThanAnswer": sum(_likeliest(found, labels) != answers[row] for row, found in usable.items()),
    }


def _likeliest(found: LabelDistribution, labels: Sequence[str]) -> str | None:
    if found.probabilities is None:
        return None
    return labels[max(range(len(labels)), key=found.probabilities.__getitem__)]
