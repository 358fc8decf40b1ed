"""The teacher's distribution over the labels, read from the top logprobs of the one answer it gave.

At each generated step the mass of an alternative goes to the labels that start with path + token: a unique
label takes it, among several it stays *unresolved*. What leads to no label, or is not listed, is *tail*. The
generated token is an alternative like the others, but while several labels are possible its mass moves on:

    labels: bug, bug report, refund          answer: "bug report"
    step 1   bug 0.7    ref 0.2    the 0.1   ref: refund 0.2; the: tail 0.1; bug: two labels, go on with 0.7
    step 2   report 0.9   <end> 0.1          report: bug report 0.63; <end>: bug 0.07

An API that does not list the end of the answer leaves an answer `bug` unresolved here: nothing tells how
likely it was to stop there.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from distillery.rules.label_prefixes import SEVERAL_LABELS, LabelPrefixes, label_prefixes

MAX_UNASSIGNED = 0.1
"""Rows with more unresolved + tail than this train on hard labels only."""

Alternative = tuple[str, float]
"""A token's text and its natural log-probability."""
Step = tuple[str, float, Sequence[Alternative]]
"""The generated token, its log-probability, and the likeliest tokens at its place, with or without itself."""

_END = re.compile(r"<\|[^|<>]{1,40}\|>|<｜[^｜<>]{1,40}｜>|</s>|<eos>|<end_of_turn>|\[EOS\]|")
_FRAGMENT = re.compile(r"^bytes:|�")  # how APIs show a part of a character
_MARKERS = {"▁": " ", "Ġ": " ", "Ċ": "\n"}  # how raw vocabularies spell a leading blank


@dataclass(frozen=True, slots=True)
class LabelDistribution:
    """How the teacher's probability mass spreads: `resolved` + `unresolved` + `tail` = 1."""

    probabilities: tuple[float, ...] | None
    """The resolved mass of each label in the task's order, divided by the sum; None if none was resolved."""
    resolved: float
    """Mass that belongs to exactly one label: the coverage."""
    unresolved: float
    """Mass that belongs to one of several labels."""
    tail: float
    """Mass that belongs to no label, or to tokens that were not listed."""

    @property
    def usable(self) -> bool:
        """Whether so much is assigned that the rest may be spread alike; a large cut tail would over-sharpen.

        See "Sparse Logit Sampling" (arXiv 2503.16870) on the bias of renormalised top-k targets.
        """
        return self.probabilities is not None and self.unresolved + self.tail <= MAX_UNASSIGNED


def label_distribution(steps: Sequence[Step], labels: Sequence[str]) -> LabelDistribution:
    """Return the distribution over `labels` that the logprobs of one answer show.

    Args:
        steps: The generated tokens in order, with their alternatives.
        labels: The task's labels; their order is that of the probabilities.
    """
    prefixes = label_prefixes(tuple(labels))
    masses = [0.0] * len(labels) + [
        0.0,
        0.0,
    ]  # SEVERAL_LABELS and NO_LABEL are the last two, by negative index
    path, mass = "", 1.0
    for token, logprob, top in steps:
        chosen, others = _split(token, logprob, top)
        listed = chosen + math.fsum(probability for _, probability in others)
        scale = mass / max(listed, 1.0)  # 32-bit logprobs may sum to a little more than 1
        masses[-1] += max(mass - listed * scale, 0.0)
        for other, probability in others:
            masses[_destination(prefixes, path, other)] += probability * scale
        mass = chosen * scale
        destination = _destination(prefixes, path, token)
        if destination != SEVERAL_LABELS or _FRAGMENT.search(token):
            masses[destination] += mass
            break
        path += _spell(token)
    else:
        masses[SEVERAL_LABELS] += mass
    return _summarise(masses)


def _split(token: str, logprob: float, top: Sequence[Alternative]) -> tuple[float, list[Alternative]]:
    """Return the generated token's probability, and the other alternatives with theirs.

    Several entries of a vocabulary may share a text; the one nearest to the generated token's logprob is it.
    """
    chosen = _probability(logprob)
    others = [(other, _probability(value)) for other, value in top]
    same = [index for index, (other, _) in enumerate(others) if other == token]
    if same:
        del others[min(same, key=lambda index: abs(others[index][1] - chosen))]
    return chosen, others


def _probability(logprob: float) -> float:
    """Return the probability; what is not a finite number counts as 0."""
    return math.exp(min(logprob, 0.0)) if math.isfinite(logprob) else 0.0


def _destination(prefixes: LabelPrefixes, path: str, token: str) -> int:
    """Return the label that `token` after `path` leads to, NO_LABEL or SEVERAL_LABELS."""
    if _END.fullmatch(token):
        return prefixes.complete(path)
    if fragment := _FRAGMENT.search(token):
        token = token[: fragment.start()]
    return prefixes.possible(path + _spell(token))


def _spell(token: str) -> str:
    return _MARKERS[token[0]] + token[1:] if token[:1] in _MARKERS else token


def _summarise(masses: Sequence[float]) -> LabelDistribution:
    *by_label, unresolved, tail = masses
    resolved = math.fsum(by_label)
    total = resolved + unresolved + tail
    return LabelDistribution(
        probabilities=tuple(mass / resolved for mass in by_label) if resolved > 0 else None,
        resolved=resolved / total,
        unresolved=unresolved / total,
        tail=tail / total,
    )
