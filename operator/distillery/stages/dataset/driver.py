"""Runs the dataset stage: read the sources, build and audit the inputs, try out what comes next."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from distillery.artifacts import tables
from distillery.artifacts.checking import check_store
from distillery.artifacts.manifest import logical_digest
from distillery.errors import StageFailed
from distillery.stages import identity, report
from distillery.stages.context import StageContext, StageResult
from distillery.stages.dataset.audit import audit_of, near_found
from distillery.stages.dataset.coverage import coverage_of
from distillery.stages.dataset.inputs import Inputs, build_inputs
from distillery.stages.dataset.oversample import check_oversample
from distillery.stages.dataset.preflight import preflight
from distillery.stages.dataset.reading import read_files
from distillery.stages.dataset.references import check_references
from distillery.stages.dataset.sources import PinnedFile, find_sources, pin_digest
from distillery.stages.dataset.spec import DatasetParams
from distillery.stages.dataset.splits import SPLITS

PROGRESS_ROWS = 1000
RECORDED_SOURCES = 100
"""Files that the manifest names; the digest covers all."""


def run(context: StageContext) -> StageResult:
    """Write inputs.parquet, coverage.json and audit.json.

    Raises:
        SpecError: the sources, their rows, or what the spec says about them.
        StageFailed: the sources changed since they were pinned, a leak was found, or the preflight failed.
    """
    params = DatasetParams.model_validate(context.run.params)
    check_store(context.store)
    inputs, pinned = read_inputs(context, params)
    check_pinned(context, pinned)
    thin = check_references(inputs.split("test"), params.judged_on)
    if thin:
        context.warn(thin)
    coverage = coverage_of(inputs, params.slices, params.output.labels)
    context.progress(report.Progress(done=len(inputs.rows), message="auditing splits"))
    audit = audit_of(inputs.rows, params.deduplicate.near)
    for file in pinned:
        if file.size == 0:
            context.warn(f"{file.name} is empty")
    _warn(context, coverage, audit)
    tables.write_table(context.output.path("inputs.parquet"), tables.INPUTS, inputs.rows)
    context.output.write("coverage.json", _document(coverage))
    context.output.write("audit.json", _document(audit))
    context.progress(report.Progress(done=len(inputs.rows), message="checking base model and teacher"))
    cost = preflight(context, params, inputs)
    return StageResult(
        output_digest=logical_digest({"inputs": inputs.digest}),
        counts={"read": inputs.funnel.read, "rows": len(inputs.rows), **_split_counts(inputs)},
        summary=_summary(inputs, coverage),
        cost=cost,
        provenance={
            "seed": params.split.seed,
            "sources": [
                {"uri": file.uri, "size": file.size, "sha256": file.sha256}
                for file in pinned[:RECORDED_SOURCES]
            ],
        },
    )


def read_inputs(context: StageContext, params: DatasetParams) -> tuple[Inputs, list[PinnedFile]]:
    """Read the sources and build the table."""
    check_oversample(params.oversample, params.slices)
    files = find_sources(params.sources, context.open_source, context.scratch / "sources")
    pooled, pinned = read_files(files, params, _on_row(context))
    return build_inputs(pooled, params, _tick(context)), pinned


def check_pinned(context: StageContext, pinned: list[PinnedFile]) -> None:
    """Raise: StageFailed(SourcesChanged) if what was read is not what names this attempt."""
    read = identity.identity_of(context.run.recipe, {identity.SOURCES: pin_digest(pinned)})
    if read != context.identity:
        message = (
            "the sources changed after they were pinned, so these are not the inputs that this stage was to read "
            "→ run again; on a cluster, where an object keeps to its first pins, request a rerun of dataset"
        )
        raise StageFailed("SourcesChanged", message)


def _on_row(context: StageContext) -> Callable[[int], None]:
    def note(rows: int) -> None:
        if rows % PROGRESS_ROWS == 0:
            context.check_stop()
            context.progress(report.Progress(done=rows, message="reading"))

    return note


def _tick(context: StageContext) -> Callable[[int, int], None]:
    def note(done: int, total: int) -> None:
        context.check_stop()
        context.progress(report.Progress(done=done, total=total, message="looking for near-duplicates"))

    return note


def _warn(context: StageContext, coverage: dict[str, Any], audit: dict[str, Any]) -> None:
    """Report what the user should know. Raises: StageFailed(LeakFound), which would be a bug of ours."""
    if not audit["clean"]:
        message = f"the leak audit found rows in more than one split; please report this: {json.dumps(audit)}"
        raise StageFailed("LeakFound", message)
    if near_found(audit):
        threshold = audit["nearDuplicatesAcrossSplits"]["threshold"]
        context.warn(
            f"{near_found(audit):,} rows resemble a row of another split (similarity {threshold:g} or more), "
            f"which flatters the student: set spec.dataset.deduplicate.near to {threshold:g} to remove them"
        )
    conflicting = coverage["funnel"]["conflictingReferences"]
    if conflicting:
        context.warn(f"{conflicting:,} inputs occur with different references; one of each was kept")
    for item in coverage["slices"]:
        if not item["rows"]:
            context.warn(f"no row is in slice {item['name']!r}: check its `where`")


def _summary(inputs: Inputs, coverage: dict[str, Any]) -> dict[str, Any]:
    funnel = inputs.funnel
    return {
        "rows": len(inputs.rows),
        **_split_counts(inputs),
        "duplicates": funnel.duplicates + sum(funnel.near_duplicates.values()),
        "slices": len(coverage["slices"]),
        "thinSlices": sum(bool(item["thin"]) for item in coverage["slices"]),
    }


def _split_counts(inputs: Inputs) -> dict[str, int]:
    return {split: len(inputs.split(split)) for split in SPLITS}


def _document(value: dict[str, Any]) -> bytes:
    return json.dumps(value, indent=1, ensure_ascii=False).encode()
