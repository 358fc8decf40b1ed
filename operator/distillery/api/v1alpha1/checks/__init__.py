"""The rules that span fields, in the order of the spec. The list is the specification."""

from __future__ import annotations

from distillery.api.v1alpha1.checks import (
    dataset,
    evaluation,
    filter,
    places,
    student,
    task,
    teacher,
    workers,
)
from distillery.api.v1alpha1.checks.check import Check

_OUTPUT = "task.output"
_LABELS = "task.output.labels"
_RULES = "filter.rules"
_GATES = "evaluation.gates"
_WORKERS = ("teacher.workers", "student.workers")

CHECKS: tuple[Check, ...] = (
    Check(places.files_have_a_server, ("storage", "dataset.sources")),
    Check(places.folders_have_wildcards, ("storage.uri", "student.base.uri")),
    Check(places.addresses_hold_more, ("storage.endpoint", "dataset.sources", "teacher.endpoint.url")),
    Check(task.labels_are_missing, (_OUTPUT,)),
    Check(task.labels_have_no_use, (_OUTPUT,)),
    Check(task.labels_are_untidy, (_LABELS,)),
    Check(task.labels_look_alike, (_LABELS,)),
    Check(task.labels_begin_each_other, (_LABELS, "student.loss")),
    Check(task.schema_has_no_use, (_OUTPUT,)),
    Check(task.schema_is_invalid, ("task.output.schema",)),
    Check(dataset.input_is_missing, ("dataset.input", "dataset.sources")),
    Check(dataset.input_is_malformed, ("dataset.input",)),
    Check(dataset.input_shows_the_reference, ("dataset.input", "dataset.reference")),
    Check(
        dataset.columns_contradict,
        ("dataset.id", "dataset.reference", "dataset.groupBy", "dataset.slices"),
    ),
    Check(dataset.sources_name_no_jsonl, ("dataset.sources",)),
    Check(dataset.sources_repeat, ("dataset.sources",)),
    Check(dataset.slices_are_not_one_of, ("dataset.slices",)),
    Check(dataset.slices_share_a_name, ("dataset.slices",)),
    Check(dataset.slices_have_no_condition, ("dataset.slices",)),
    Check(dataset.oversampled_slices_are_unknown, ("dataset.slices", "dataset.oversample")),
    Check(dataset.splits_leave_no_training_rows, ("dataset.split",)),
    Check(teacher.budget_has_no_prices, ("budget.maxCost", "teacher.pricing")),
    Check(teacher.endpoint_is_no_base_url, ("teacher.endpoint.url",)),
    Check(teacher.secret_key_is_a_value, ("teacher.endpoint.apiKeySecret",)),
    Check(teacher.samples_are_all_alike, ("teacher.samples",)),
    Check(teacher.labels_exceed_the_answer, (_LABELS, "teacher.parameters.maxTokens")),
    Check(teacher.stop_cuts_labels, (_LABELS, "teacher.parameters.stop")),
    Check(filter.rules_are_not_one_of, (_RULES,)),
    Check(filter.rules_repeat, (_RULES,)),
    Check(filter.consistency_has_no_samples, (_RULES, "teacher.samples")),
    Check(filter.consistency_has_no_measure, (_RULES, "task.output.format")),
    Check(filter.length_rejects_nothing, (_RULES, "teacher.parameters.maxTokens")),
    Check(filter.length_rejects_labels, (_RULES, _LABELS)),
    Check(filter.refusal_patterns_are_wrong, (_RULES, _LABELS)),
    Check(filter.discard_bounds_are_disordered, ("filter.discard",)),
    Check(student.base_is_not_one_of, ("student.base",)),
    Check(student.base_options_have_no_use, ("student.base",)),
    Check(student.architecture_has_no_type, ("student.base.architecture",)),
    Check(student.architecture_does_not_divide, ("student.base.architecture",)),
    Check(student.architecture_sets_the_vocabulary, ("student.base.architecture",)),
    Check(student.length_exceeds_the_model, ("student.base.architecture", "student.maxLength")),
    Check(student.loss_has_no_weight, ("student.loss",)),
    Check(student.soft_loss_has_no_labels, ("student.loss", "task.output.format")),
    Check(student.soft_loss_has_no_logprobs, ("student.loss", "teacher.parameters.topLogprobs")),
    Check(student.stopping_has_no_labels, ("student.earlyStopping.metric", "task.output.format")),
    Check(student.student_is_never_evaluated, ("student.epochs", "student.evaluationsPerEpoch")),
    Check(workers.resources_do_not_exist, _WORKERS),
    Check(workers.devices_are_divided, _WORKERS),
    Check(workers.limits_name_others, _WORKERS),
    Check(workers.limits_are_below_requests, _WORKERS),
    Check(workers.workers_outnumber_rows, ("student.workers", "student.batchSize")),
    Check(evaluation.metrics_do_not_fit, ("evaluation.metrics", "task.output.format")),
    Check(evaluation.retention_has_no_reference, (_GATES, "dataset.reference", "dataset.sources")),
    Check(
        evaluation.text_has_no_measure,
        (_GATES, "task.output.format", "dataset.reference", "dataset.sources"),
    ),
    Check(evaluation.slices_gate_has_no_slices, (_GATES, "dataset.slices")),
    Check(evaluation.latency_gate_has_no_rows, (_GATES, "evaluation.noiseRows")),
    Check(evaluation.release_has_no_gate, (_GATES, "release")),
)
"""Every rule, with the fields that it reads."""
