"""What the student stage leaves: model folder, training log, training.json, and the digest over them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distillery.artifacts.artifact import file_digest
from distillery.artifacts.manifest import digest, logical_digest
from distillery.artifacts.tables import TRAINING_LOG, read_table, rows_digest, write_table
from distillery.modeling.base import WEIGHTS
from distillery.modeling.student_model import greedy
from distillery.stages.student.examples import Examples
from distillery.stages.student.training import Material, Position, Training

MODEL, LOG, SUMMARY = "model", "training_log.parquet", "training.json"
SHOWN_ROWS = 20


def write_result(training: Training, train: Examples, validation: Examples, folder: Path) -> None:
    """Write the finished student into `folder`; equal trainings give equal bytes."""
    material, position = training.material, training.position
    write_model(material, folder / MODEL)
    write_table(folder / LOG, TRAINING_LOG, position.log)
    document = describe(training, train, validation, position, folder / MODEL)
    (folder / SUMMARY).write_text(json.dumps(document, indent=1, sort_keys=True))


def write_model(material: Material, folder: Path) -> None:
    """Save weights, tokenizer with chat template, and generation settings, as transformers loads them."""
    model, chat = material.student.model, material.student.chat
    if material.student.max_length is not None:
        chat.tokenizer.model_max_length = material.student.max_length
    model.generation_config = greedy(chat)
    model.config.pad_token_id = chat.pad
    model.save_pretrained(folder)
    chat.tokenizer.save_pretrained(folder)


def describe(
    training: Training, train: Examples, validation: Examples, position: Position, model_folder: Path
) -> dict[str, Any]:
    """Return training.json: counts and facts, no timings, so that equal trainings give equal documents."""
    student = training.material.student
    return {
        "version": 1,
        "model": {
            "type": student.model.config.model_type,
            "parameters": sum(parameter.numel() for parameter in student.model.parameters()),
            "sizeBytes": sum(path.stat().st_size for path in model_folder.glob(f"*{WEIGHTS}")),
            "vocabularySize": len(student.chat.tokenizer),
            "maxLength": student.max_length,
        },
        "rows": {
            "train": _rows(train),
            "trainWithCopies": sum(example.copies for example in train.kept),
            "validation": _rows(validation),
        },
        "softCoverage": train.soft_coverage,
        "steps": {
            "planned": training.course.total_steps,
            "taken": position.step,
            "perEpoch": training.course.steps_per_epoch,
            "best": position.best_step or position.step,
        },
        "stoppedEarly": position.stopped_early,
        "best": position.best,
        "trainedOn": {"device": training.team.device.type, "workers": training.team.size},
    }


def output_digest(folder: Path) -> str:
    """Return the digest of weights, configuration, tokenizer, chat template and training log."""
    model = folder / MODEL
    parts = {f"{MODEL}/{path.name}": file_digest(path) for path in sorted(model.glob(f"*{WEIGHTS}"))}
    for path in sorted([*model.glob("tokenizer*"), *model.glob("*.jinja")]):
        parts[f"{MODEL}/{path.name}"] = hashlib.sha256(path.read_bytes()).hexdigest()
    config = json.loads((model / "config.json").read_text())
    config.pop("transformers_version", None)
    parts[f"{MODEL}/config.json"] = digest(config)
    parts[LOG] = rows_digest(read_table(folder / LOG, TRAINING_LOG), TRAINING_LOG)
    return logical_digest(parts)


def summary_of(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the few scalars of training.json that belong into a status."""
    best = document["best"] or {}
    return {
        "parameters": document["model"]["parameters"],
        "sizeBytes": document["model"]["sizeBytes"],
        "steps": document["steps"]["taken"],
        "bestStep": document["steps"]["best"],
        "stoppedEarly": document["stoppedEarly"],
        "softCoverage": round(document["softCoverage"], 4),
        **(
            {"validationLoss": round(best["loss"], 6), "agreement": round(best["agreement"], 4)}
            if best
            else {}
        ),
    }


def counts_of(document: Mapping[str, Any]) -> dict[str, int]:
    """Return the row counts of training.json that belong into the manifest."""
    rows = document["rows"]
    return {
        "train": rows["train"]["used"],
        "validation": rows["validation"]["used"],
        "tooLong": rows["train"]["tooLong"] + rows["validation"]["tooLong"],
    }


def _rows(examples: Examples) -> dict[str, Any]:
    asked = len(examples.kept) + len(examples.too_long)
    return {
        "used": len(examples.kept),
        "tooLong": len(examples.too_long),
        "tooLongShare": len(examples.too_long) / max(1, asked),
        "tooLongRows": [{"rowId": row, "tokens": tokens} for row, tokens in examples.too_long[:SHOWN_ROWS]],
    }
