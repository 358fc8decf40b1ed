"""Everything that the report and the model card show, gathered once. They compute nothing, they tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from distillery.artifacts.manifest import Manifest, digest
from distillery.stages.evaluation.rows import ScoredRow
from distillery.stages.evaluation.spec import EvaluationParams

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Evidence:
    """One evaluation: its parameters, its documents, and those of the stages before it."""

    job: str
    identity: str
    created_at: str
    """UTC, to the minute."""
    params: EvaluationParams
    rows: Sequence[ScoredRow]
    verdict: Document
    metrics: Document
    latency: Document
    cost: Document
    training: Document
    """training.json of the student."""
    training_log: Sequence[Document]
    funnel: Document
    """counts.json of the filter."""
    coverage: Document
    """coverage.json of the dataset."""
    parents: Mapping[str, Manifest]

    @property
    def teacher_name(self) -> str:
        """The teacher as the spec names it, with its revision."""
        teacher = self.params.teacher
        return teacher.model if teacher.revision is None else f"{teacher.model} ({teacher.revision})"

    @property
    def base_name(self) -> str:
        """What the student started from."""
        base = self.params.base
        if base is None:
            return "unknown"
        if base.hub is not None:
            return base.hub if base.revision is None else f"{base.hub} at {base.revision}"
        if base.uri is not None:
            return base.uri
        return f"{(base.architecture or {}).get('model_type', 'a model')} from scratch"

    @property
    def prompt_digest(self) -> str:
        """Digest of what production sends beside the row: the system prompt and the output's shape."""
        task = self.params.task
        output = task.output.model_dump(mode="json", by_alias=True, exclude_none=True)
        return digest({"systemPrompt": task.system_prompt, "output": output})

    @property
    def dataset_digest(self) -> str:
        """Output digest of the dataset artifact."""
        return self.parents["dataset"].output_digest
