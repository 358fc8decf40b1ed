"""Every object key in the system, relative to the storage URI. Nothing else builds keys."""

from __future__ import annotations

MANIFEST = "manifest.json"


def artifact(stage: str, identity: str) -> str:
    """Prefix of one artifact."""
    return f"artifacts/{stage}/{identity}/"


def manifest(stage: str, identity: str) -> str:
    """Key of an artifact's manifest; its presence means that the artifact is complete."""
    return artifact(stage, identity) + MANIFEST


def writer(stage: str, identity: str, writer_id: str) -> str:
    """Prefix of the files of one writer; the manifest names the writer that won."""
    return f"{artifact(stage, identity)}data/{writer_id}/"


def answers(teacher_digest: str) -> str:
    """Prefix of the answer cache of one teacher."""
    return f"answers/{teacher_digest}/"


def ledger(uid: str) -> str:
    """Prefix of the ledger of one object."""
    return f"jobs/{uid}/ledger/"


def pins(uid: str, dataset_recipe: str) -> str:
    """Key of the source digests pinned for one object and dataset recipe."""
    return f"jobs/{uid}/pins/{dataset_recipe}.json"


def checkpoints(stage: str, identity: str) -> str:
    """Prefix of the checkpoints of an unfinished stage."""
    return f"checkpoints/{stage}/{identity}/"


def release(name: str, version: str) -> str:
    """Prefix of one released model."""
    return f"models/{name}/{version}/"


def latest(name: str) -> str:
    """Key of the pointer to the newest release."""
    return f"models/{name}/latest.json"
