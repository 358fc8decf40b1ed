"""The filter's rules: an ordered list of named pure functions that say why an answer is rejected, or None.

Reasons are phrases from a small closed set, so that they can be counted; what is particular to a row stays
out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from distillery.api.v1alpha1 import filter as api
from distillery.api.v1alpha1.task import Output
from distillery.errors import Problem, SpecError
from distillery.rules import json_answers
from distillery.rules.normalising import equal, normalise
from distillery.rules.refusals import compile_patterns, is_refusal

RuleName = Literal["format", "length", "refusal", "consistency"]


@dataclass(frozen=True, slots=True)
class Judged:
    """A teacher's answer and all that a rule may know about it."""

    row_id: str
    split: str
    text: str | None
    finish_reason: str | None
    refusal: str | None
    """The API's own refusal field."""
    completion_tokens: int | None
    output: Output
    extra: tuple[str | None, ...] = ()
    """Texts of the extra samples that were answered."""


Judgement = Callable[[Judged], str | None]


@dataclass(frozen=True, slots=True)
class Rule:
    """A judgement under the name that the specification gives it."""

    name: RuleName
    judge: Judgement


@dataclass(frozen=True, slots=True)
class Rejection:
    """The rule that fired and its reason."""

    rule: RuleName
    reason: str


# Consistency is for training rows: extra samples exist only there. Test rows are never filtered, or the
# teacher would be measured only where it does well.
SPLITS: Mapping[RuleName, frozenset[str]] = {
    "format": frozenset({"train", "validation"}),
    "length": frozenset({"train", "validation"}),
    "refusal": frozenset({"train", "validation"}),
    "consistency": frozenset({"train"}),
}


def first_rejection(rules: Sequence[Rule], judged: Judged) -> Rejection | None:
    """Return the rejection of the first rule that holds for the row's split and gives a reason, or None."""
    for rule in rules:
        if judged.split in SPLITS[rule.name] and (reason := rule.judge(judged)) is not None:
            return Rejection(rule.name, reason)
    return None


def build_rules(rules: Sequence[api.Rule]) -> tuple[Rule, ...]:
    """Return the functions that `spec.filter.rules` declares, in its order.

    An answer without a normal form can be no training target, so format comes last where it is not listed.

    Raises: SpecError for an item that names no rule or several, or a pattern that is no regular expression.
    """
    built = [_build(rule, f"spec.filter.rules[{index}]") for index, rule in enumerate(rules)]
    if all(rule.name != "format" for rule in built):
        built.append(Rule("format", format_reason))
    return tuple(built)


def _build(rule: api.Rule, path: str) -> Rule:
    sections = (rule.format, rule.length, rule.refusal, rule.consistency)
    match [section for section in sections if section is not None]:
        case [api.FormatRule()]:
            return Rule("format", format_reason)
        case [api.LengthRule(max_tokens=max_tokens)]:
            return Rule("length", length_rule(max_tokens))
        case [api.RefusalRule(patterns=patterns)]:
            return Rule("refusal", refusal_rule(_compile(patterns, f"{path}.refusal.patterns")))
        case [api.ConsistencyRule(min_agreement=min_agreement)]:
            return Rule("consistency", consistency_rule(min_agreement))
    names = ", ".join(sorted(rule.model_fields_set)) or "none"
    raise SpecError(Problem(path, f"one rule is wanted, found {names}", "write one list item per rule"))


def _compile(patterns: Sequence[str], path: str) -> tuple[re.Pattern[str], ...]:
    problems = []
    for index, pattern in enumerate(patterns):
        try:
            compile_patterns([pattern])
        except (re.error, OverflowError, RecursionError) as error:
            message = f"{pattern!r} is no regular expression: {error}"
            problems.append(
                Problem(f"{path}[{index}]", message, "escape special characters with a backslash")
            )
    if problems:
        raise SpecError(*problems)
    return compile_patterns(patterns)


def format_reason(judged: Judged) -> str | None:
    """The answer is not in the task's output format."""
    text, output = judged.text, judged.output
    if text is None or not text.strip():
        return "empty answer"
    if normalise(text, output) is not None:
        return None
    match output.format:
        case "label":
            return "not one of the labels"
        case "json":
            return _json_reason(text)
        case "text":
            return "not valid Unicode"


def _json_reason(text: str) -> str:
    try:
        json_answers.canonical(json_answers.parse(text))
    except ValueError:
        return "not valid JSON"
    return "does not match the schema"


def length_rule(max_tokens: int | None) -> Judgement:
    """The answer was cut off, or has more than `max_tokens` of the teacher's tokens."""

    def judge(judged: Judged) -> str | None:
        if judged.finish_reason == "length":
            return "cut off at the token limit"
        if max_tokens is not None and (judged.completion_tokens or 0) > max_tokens:
            return f"longer than {max_tokens} tokens"
        return None

    return judge


def refusal_rule(patterns: Sequence[re.Pattern[str]] = ()) -> Judgement:
    """The API says that the teacher refused, or the answer reads like a refusal.

    The built-in patterns spare valid labels and JSON: such an answer is no refusal, whatever its words.
    """

    def judge(judged: Judged) -> str | None:
        if judged.refusal:
            return "refused by the teacher"
        if judged.finish_reason == "content_filter":
            return "stopped by a content filter"
        text = judged.text or ""
        if any(pattern.search(text) for pattern in patterns):
            return "matches a refusal pattern"
        valid = judged.output.format != "text" and normalise(text, judged.output) is not None
        return "reads like a refusal" if not valid and is_refusal(text) else None

    return judge


def agreement(judged: Judged) -> tuple[int, int] | None:
    """Return how many extra samples equal the production answer, out of how many; None without evidence.

    Free text has none: two good texts are rarely equal.
    """
    if judged.output.format == "text" or not judged.extra:
        return None
    return sum(equal(judged.text, extra, judged.output) for extra in judged.extra), len(judged.extra)


def consistency_rule(min_agreement: float) -> Judgement:
    """Too few of the extra samples agree with the production answer; a row without extra samples passes."""

    def judge(judged: Judged) -> str | None:
        score = agreement(judged)
        if score is None or score[0] / score[1] >= min_agreement:
            return None
        return f"{score[0]} of {score[1]} extra samples agree, fewer than {min_agreement:g}"

    return judge
