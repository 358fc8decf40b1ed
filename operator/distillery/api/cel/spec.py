"""CEL rules that need several sections of a DistillationJob's spec. Pure."""

from __future__ import annotations

from distillery.api.cel.rule import HARD_ONLY, REQUIRED, Cel, either, unset

_HAS_REFERENCES = (
    "(has(self.dataset.reference) || self.dataset.sources.exists(s, has(s.format) && s.format != 'plain'))"
)
_FORMAT = "self.task.output.format"
_RULES_UNSET = unset("filter.rules")
_SOFT = "(" + unset("student.loss.soft") + " || self.student.loss.soft <= 0.0"

_FITTING = {"label": ("accuracy", "macroF1"), "json": ("exactMatch",), "text": ("exactMatch", "chrF")}
_RETENTION = ".evaluation.gates.retention"
_BASIS = f"self{_RETENTION}.basis"
_BASIS_UNSET = unset("evaluation.gates.retention.basis")

SPEC: list[Cel] = [
    Cel(
        f"{unset('budget.maxCost')} || has(self.teacher.pricing)",
        "is required by budget.maxCost, which could not be kept otherwise",
        'write pricing: {promptPerMillion: "…", completionPerMillion: "…"}',
        ".teacher.pricing",
        REQUIRED,
        "budget_has_no_prices",
    ),
    Cel(
        f"{_RULES_UNSET} || has(self.teacher.samples) || self.filter.rules.all(r, !has(r.consistency))",
        "is required by the rule consistency, which compares extra samples with the answer",
        "write samples: {extra: 2}, or remove the rule",
        ".teacher.samples",
        REQUIRED,
        "consistency_has_no_samples",
    ),
    Cel(
        f"{_RULES_UNSET} || {_FORMAT} != 'text' || self.filter.rules.all(r, !has(r.consistency))",
        "answers of format text cannot be compared for equality",
        "remove the rule consistency; it is for label and json",
        ".filter.rules",
        check="consistency_has_no_measure",
    ),
    Cel(
        f"{_RULES_UNSET} || self.filter.rules.all(r, !has(r.length) || !has(r.length.maxTokens)"
        f" || r.length.maxTokens <= {either('teacher.parameters.maxTokens', '512')})",
        "length.maxTokens is more than teacher.parameters.maxTokens lets through",
        "remove maxTokens here, or raise the teacher's",
        ".filter.rules",
        check="length_rejects_nothing",
    ),
    Cel(
        f"{_SOFT} || {_FORMAT} == 'label')",
        "needs a distribution over labels, but the format is another",
        HARD_ONLY,
        ".student.loss.soft",
        check="soft_loss_has_no_labels",
    ),
    Cel(
        f"{_SOFT} || {either('teacher.parameters.topLogprobs', '0')} > 0)",
        "needs the teacher's probabilities, but teacher.parameters.topLogprobs is 0",
        "write topLogprobs: 20, or loss: {hard: 1, soft: 0} if the teacher returns none",
        ".student.loss.soft",
        check="soft_loss_has_no_logprobs",
    ),
    Cel(
        f"{unset('student.earlyStopping.metric')} || self.student.earlyStopping.metric != 'agreement'"
        f" || {_FORMAT} == 'label'",
        "agreement is counted on labels, but the format is another",
        "write loss",
        ".student.earlyStopping.metric",
        check="stopping_has_no_labels",
    ),
    *(
        Cel(
            f"{unset('evaluation.metrics')} || {_FORMAT} != '{form}'"
            f" || self.evaluation.metrics.all(m, m in [{', '.join(repr(name) for name in names)}])",
            f"a metric is not for format {form}",
            f"allowed: {', '.join(names)}",
            ".evaluation.metrics",
            check="metrics_do_not_fit",
        )
        for form, names in _FITTING.items()
    ),
    Cel(
        f"{_BASIS_UNSET} || {_BASIS} != 'reference' || {_HAS_REFERENCES}",
        "reference needs known answers, but dataset.reference is not set",
        "name the column with the answer, or write basis: teacher",
        f"{_RETENTION}.basis",
        check="retention_has_no_reference",
    ),
    Cel(
        f"{_BASIS_UNSET} || {_FORMAT} != 'text' || {_BASIS} != 'teacher' || !{_HAS_REFERENCES}",
        "text cannot be gated on its likeness to the teacher's",
        "write basis: reference, or remove this gate",
        f"{_RETENTION}.basis",
        check="text_has_no_measure",
    ),
    *(
        Cel(
            f"{unset(f'evaluation.gates.{gate}')} || {_FORMAT} != 'text' || {_HAS_REFERENCES}",
            "text without references cannot be gated on retention",
            "name a column with known answers in dataset.reference, or remove this gate",
            f".evaluation.gates.{gate}",
            check="text_has_no_measure",
        )
        for gate in ("retention", "slices")
    ),
    Cel(
        f"{unset('evaluation.gates.slices')} || (has(self.dataset.slices) && self.dataset.slices.size() > 0)",
        "there are no slices to hold the floor",
        "declare dataset.slices, or remove this gate",
        ".evaluation.gates.slices",
        check="slices_gate_has_no_slices",
    ),
    Cel(
        f"{unset('evaluation.gates.latency')} || {unset('evaluation.noiseRows')}"
        " || self.evaluation.noiseRows >= 30",
        "so few timed rows cannot decide the gate on latency",
        "write at least 30",
        ".evaluation.noiseRows",
        check="latency_gate_has_no_rows",
    ),
    Cel(
        "!has(self.release) || (has(self.evaluation) && has(self.evaluation.gates)"
        " && (has(self.evaluation.gates.retention) || has(self.evaluation.gates.slices)"
        " || has(self.evaluation.gates.latency)))",
        "every student would be released: evaluation.gates is empty",
        "write evaluation: {gates: {retention: {min: 0.95}}}",
        ".release",
        check="release_has_no_gate",
    ),
]
