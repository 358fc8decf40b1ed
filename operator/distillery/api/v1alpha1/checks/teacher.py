"""Contradictions in how the teacher is asked and paid."""

from __future__ import annotations

from collections.abc import Iterator

from distillery.api.showing import looks_secret
from distillery.api.v1alpha1.distillation_job import DistillationJobSpec
from distillery.errors import Problem

PARAMETERS = "spec.teacher.parameters"
_METHODS = ("/chat/completions", "/completions", "/responses", "/embeddings", "/models")


def longest_label(spec: DistillationJobSpec) -> tuple[str, int]:
    """Return the label with the most words, and their number: a tokenizer needs at least as many tokens."""
    label = max(spec.task.output.labels or ("",), key=lambda text: len(text.split()))
    return label, len(label.split())


def budget_has_no_prices(spec: DistillationJobSpec) -> Iterator[Problem]:
    """Costs are limited, but nothing says what the teacher costs."""
    if spec.budget.max_cost is not None and spec.teacher.pricing is None:
        message = "is required by budget.maxCost, which could not be kept otherwise"
        repair = 'write pricing: {promptPerMillion: "…", completionPerMillion: "…"}'
        yield Problem("spec.teacher.pricing", message, repair)


def endpoint_is_no_base_url(spec: DistillationJobSpec) -> Iterator[Problem]:
    """The URL goes on to a method of the API, which is added when it is called."""
    url = spec.teacher.endpoint.url
    for method in _METHODS:
        if url.partition("?")[0].rstrip("/").endswith(method):
            message = f"ends with {method}, which is added to it"
            yield Problem("spec.teacher.endpoint.url", message, "end it with the version, as in …/v1")
            return


def secret_key_is_a_value(spec: DistillationJobSpec) -> Iterator[Problem]:
    """An API key itself stands where the name of a Secret's key belongs."""
    reference = spec.teacher.endpoint.api_key_secret
    if reference is not None and looks_secret(reference.key):
        message = "looks like an API key itself, which must never stand in a manifest"
        repair = "revoke it, and write the name of the Secret's key, for example api-key"
        yield Problem("spec.teacher.endpoint.apiKeySecret.key", message, repair)


def samples_are_all_alike(spec: DistillationJobSpec) -> Iterator[Problem]:
    """Extra samples at temperature 0 repeat one answer."""
    samples = spec.teacher.samples
    if samples is not None and samples.temperature == 0:
        message = "at temperature 0 every extra sample is the same answer, paid again"
        yield Problem("spec.teacher.samples.temperature", message, "write 0.7, or remove teacher.samples")


def labels_exceed_the_answer(spec: DistillationJobSpec) -> Iterator[Problem]:
    """The longest label cannot be answered in so few tokens."""
    label, words = longest_label(spec)
    limit = spec.teacher.parameters.max_tokens
    if words > limit:
        message = f"an answer of {limit} tokens cannot hold the label {label!r} of {words} words"
        yield Problem(f"{PARAMETERS}.maxTokens", message, f"write at least {2 * words}")


def stop_cuts_labels(spec: DistillationJobSpec) -> Iterator[Problem]:
    """A stop string occurs in a label, so that label is never answered in full."""
    for index, stop in enumerate(spec.teacher.parameters.stop or ()):
        for label in spec.task.output.labels or ():
            if stop in label:
                message = f"{stop!r} would end the answer within the label {label!r}"
                yield Problem(f"{PARAMETERS}.stop[{index}]", message, "remove it")
                break
