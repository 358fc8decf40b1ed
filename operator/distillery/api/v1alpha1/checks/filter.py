"""Contradictions within the filter, and between it and what it filters."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator

from distillery.api.v1alpha1.checks.teacher import longest_label
from distillery.api.v1alpha1.distillation_job import DistillationJobSpec
from distillery.api.v1alpha1.filter import Rule
from distillery.errors import Problem

RULES = "spec.filter.rules"


def kinds_of(rule: Rule) -> list[str]:
    """Return the names of the rules that an item declares: one, if it is right."""
    return [name for name in Rule.model_fields if getattr(rule, name) is not None]


def rules_are_not_one_of(spec: DistillationJobSpec) -> Iterator[Problem]:
    """An item of the list declares no rule, or several."""
    for index, rule in enumerate(spec.filter.rules):
        kinds = kinds_of(rule)
        if len(kinds) != 1:
            found = " and ".join(kinds) or "no rule"
            message = f"the item declares {found}; one rule is wanted"
            repair = f"write one item per rule: {', '.join(Rule.model_fields)}"
            yield Problem(f"{RULES}[{index}]", message, repair)


def rules_repeat(spec: DistillationJobSpec) -> Iterator[Problem]:
    """The same kind of rule is declared twice."""
    seen: dict[str, int] = {}
    for index, rule in enumerate(spec.filter.rules):
        for kind in kinds_of(rule):
            first = seen.setdefault(kind, index)
            if first != index:
                message = f"the rule {kind} is already declared in rules[{first}]"
                yield Problem(f"{RULES}[{index}]", message, "merge them")


def consistency_has_no_samples(spec: DistillationJobSpec) -> Iterator[Problem]:
    """Agreement between samples is asked for, but there is one sample only."""
    for index, rule in enumerate(spec.filter.rules):
        if rule.consistency is not None and spec.teacher.samples is None:
            message = "compares extra samples with the answer, but teacher.samples is not set"
            repair = "write teacher: {samples: {extra: 2}}, or remove the rule"
            yield Problem(f"{RULES}[{index}].consistency", message, repair)


def consistency_has_no_measure(spec: DistillationJobSpec) -> Iterator[Problem]:
    """Two good texts are rarely equal, so agreement on text means nothing."""
    for index, rule in enumerate(spec.filter.rules):
        if rule.consistency is not None and spec.task.output.format == "text":
            message = "answers of format text cannot be compared for equality"
            yield Problem(f"{RULES}[{index}].consistency", message, "remove it; it is for label and json")


def length_rejects_nothing(spec: DistillationJobSpec) -> Iterator[Problem]:
    """The longest answer that is kept is longer than any that the teacher may give."""
    limit = spec.teacher.parameters.max_tokens
    for index, rule in enumerate(spec.filter.rules):
        wanted = rule.length.max_tokens if rule.length else None
        if wanted is not None and wanted > limit:
            message = f"{wanted} is more than teacher.parameters.maxTokens ({limit}) lets through"
            repair = "remove maxTokens here, or raise the teacher's"
            yield Problem(f"{RULES}[{index}].length.maxTokens", message, repair)


def length_rejects_labels(spec: DistillationJobSpec) -> Iterator[Problem]:
    """A label is longer than the longest answer that is kept."""
    label, words = longest_label(spec)
    for index, rule in enumerate(spec.filter.rules):
        wanted = rule.length.max_tokens if rule.length else None
        if wanted is not None and wanted < words:
            message = f"an answer of {wanted} tokens cannot hold the label {label!r} of {words} words"
            yield Problem(f"{RULES}[{index}].length.maxTokens", message, f"write at least {2 * words}")


def refusal_patterns_are_wrong(spec: DistillationJobSpec) -> Iterator[Problem]:
    """A pattern is no regular expression, or takes good answers for refusals."""
    labels = spec.task.output.labels or ()
    for place, rule in enumerate(spec.filter.rules):
        for index, text in enumerate(rule.refusal.patterns if rule.refusal else ()):
            if found := _pattern_problem(text, labels):
                yield Problem(f"{RULES}[{place}].refusal.patterns[{index}]", *found)


def _pattern_problem(text: str, labels: list[str] | tuple[str, ...]) -> tuple[str, str] | None:
    try:
        with warnings.catch_warnings():
            # What Python only warns of, such as `[[`, means something else in its next release.
            warnings.simplefilter("error")
            pattern = re.compile(text, re.IGNORECASE | re.DOTALL)
    except (re.error, OverflowError, RecursionError, Warning) as error:
        return f"{text!r} is no regular expression: {error}", "escape special characters with a backslash"
    if pattern.search(""):
        return f"{text!r} matches an empty text, so every answer would be a refusal", "make it more specific"
    label = next((label for label in labels if pattern.search(label)), None)
    if label is not None:
        return f"{text!r} matches the label {label!r}, which would never be kept", "make it more specific"
    return None


def discard_bounds_are_disordered(spec: DistillationJobSpec) -> Iterator[Problem]:
    """The expected range is upside down or ends beyond the limit."""
    low, high = spec.filter.discard.expected
    if low > high:
        message = f"[{low:g}, {high:g}] is upside down"
        yield Problem("spec.filter.discard.expected", message, f"write [{high:g}, {low:g}]")
    elif high > spec.filter.discard.max:
        message = f"expects up to {high:g}, but discard.max stops the job at {spec.filter.discard.max:g}"
        yield Problem("spec.filter.discard.expected", message, "lower it, or raise discard.max")
