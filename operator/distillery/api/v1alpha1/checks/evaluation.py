"""Contradictions between what is measured, what is gated, and what there is to measure it with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from distillery.api.v1alpha1.distillation_job import DistillationJobSpec
from distillery.errors import Problem

GATES = "spec.evaluation.gates"
FITTING: Mapping[str, tuple[str, ...]] = {
    "label": ("accuracy", "macroF1"),
    "json": ("exactMatch",),
    "text": ("exactMatch", "chrF"),
}
MIN_TIMED_ROWS = 30
"""Fewer rows decide nothing about latency."""


def has_references(spec: DistillationJobSpec) -> bool:
    """Return whether rows can have a known answer: a column, or a format that may carry one."""
    return spec.dataset.reference is not None or any(s.format != "plain" for s in spec.dataset.sources)


def metrics_do_not_fit(spec: DistillationJobSpec) -> Iterator[Problem]:
    """A metric is not defined for the task's answers, or listed twice."""
    metrics = spec.evaluation.metrics or []
    form = spec.task.output.format
    for index, metric in enumerate(metrics):
        path = f"spec.evaluation.metrics[{index}]"
        if metric not in FITTING[form]:
            yield Problem(path, f"{metric} is not for format {form}", f"allowed: {', '.join(FITTING[form])}")
        elif metric in metrics[:index]:
            yield Problem(path, f"{metric} is listed twice", "keep one of them")


def retention_has_no_reference(spec: DistillationJobSpec) -> Iterator[Problem]:
    """Retention is to be measured against known answers that no row has."""
    gate = spec.evaluation.gates.retention
    if gate is not None and gate.basis == "reference" and not has_references(spec):
        message = "reference needs known answers, but dataset.reference is not set"
        repair = "name the column with the answer, or write basis: teacher"
        yield Problem(f"{GATES}.retention.basis", message, repair)


def text_has_no_measure(spec: DistillationJobSpec) -> Iterator[Problem]:
    """Free text without known answers gives no figure that a gate could rely on: being alike is no quality."""
    if spec.task.output.format != "text":
        return
    gates = spec.evaluation.gates
    if has_references(spec):
        if gates.retention is not None and gates.retention.basis == "teacher":
            message = "text cannot be gated on its likeness to the teacher's"
            yield Problem(f"{GATES}.retention.basis", message, "write basis: reference, or remove this gate")
        return
    for name, gate in (("retention", gates.retention), ("slices", gates.slices)):
        if gate is not None:
            message = "text without references cannot be gated on retention"
            repair = "name a column with known answers in dataset.reference, or remove this gate"
            yield Problem(f"{GATES}.{name}", message, repair)


def slices_gate_has_no_slices(spec: DistillationJobSpec) -> Iterator[Problem]:
    """Every slice must hold a floor, but there are none."""
    if spec.evaluation.gates.slices is not None and not spec.dataset.slices:
        message = "there are no slices to hold the floor"
        yield Problem(f"{GATES}.slices", message, "declare dataset.slices, or remove this gate")


def latency_gate_has_no_rows(spec: DistillationJobSpec) -> Iterator[Problem]:
    """Latency is gated, but too few rows are timed to decide."""
    rows = spec.evaluation.noise_rows
    if spec.evaluation.gates.latency is not None and rows < MIN_TIMED_ROWS:
        message = f"{rows} timed rows cannot decide the gate on latency"
        yield Problem("spec.evaluation.noiseRows", message, f"write at least {MIN_TIMED_ROWS}")


def release_has_no_gate(spec: DistillationJobSpec) -> Iterator[Problem]:
    """A passing verdict releases the student, but nothing is demanded of it."""
    gates = spec.evaluation.gates
    if spec.release is not None and not any((gates.retention, gates.slices, gates.latency)):
        message = "every student would be released: evaluation.gates is empty"
        yield Problem("spec.release", message, "write evaluation: {gates: {retention: {min: 0.95}}}")
