"""Every object key in the system, relative to the storage URI. Nothing else builds keys."""

from __future__ import annotations

MANIFEST = "manifest.json"
PROBES = "probes/"
PRUNED = ("artifacts/", "checkpoints/", PROBES)
"""Prefixes in which leftovers may be removed; nothing else is ever listed for removal."""
MAX_KEY_BYTES = 1024


def check_key(key: str) -> str:
    """Return `key` if every store can hold it: relative, no empty, `.` or `..` segment, at most 1024 bytes.

    Raises: ValueError.
    """
    if any(segment in ("", ".", "..") for segment in key.split("/")) or "\0" in key:
        raise ValueError(f"{key!r} is no key: keys are relative paths without empty, '.' or '..' segments")
    if len(key.encode("utf-8", "surrogateescape")) > MAX_KEY_BYTES:
        raise ValueError(f"{key[:60]!r}… is no key: it is longer than {MAX_KEY_BYTES} bytes")
    return key


def artifact(stage: str, identity: str) -> str:
    """Prefix of one artifact."""
    return f"artifacts/{stage}/{identity}/"


def manifest(stage: str, identity: str) -> str:
    """Key of an artifact's manifest; its presence means that the artifact is complete."""
    return artifact(stage, identity) + MANIFEST


def writer(stage: str, identity: str, writer_id: str) -> str:
    """Prefix of the files of one writer; the manifest names the writer that won."""
    return f"{artifact(stage, identity)}data/{writer_id}/"


def writer_of(key: str) -> tuple[str, str] | None:
    """Return (artifact prefix, writer id) of a payload file's key, or None for any other key."""
    match key.split("/"):
        case ["artifacts", stage, identity, "data", writer_id, _, *_]:
            return artifact(stage, identity), writer_id
        case _:
            return None


def checkpoint_of(key: str) -> tuple[str, str] | None:
    """Return (stage, identity) of a checkpoint file's key, or None for any other key."""
    match key.split("/"):
        case ["checkpoints", stage, identity, _, *_]:
            return stage, identity
        case _:
            return None


def answers(teacher_digest: str) -> str:
    """Prefix of the answer cache of one teacher."""
    return f"answers/{teacher_digest}/"


def answer_journal(teacher_digest: str, writer: str, sequence: int) -> str:
    """Key of one group of answers as committed by one engine."""
    return f"{answers(teacher_digest)}journal/{writer}/{sequence:08d}"


def answer_segment(teacher_digest: str, writer: str, sequence: int) -> str:
    """Key of many groups of answers, merged."""
    return f"{answers(teacher_digest)}segments/{writer}-{sequence:06d}"


def ledger(uid: str) -> str:
    """Prefix of the ledger of one object."""
    return f"jobs/{uid}/ledger/"


def ledger_entries(uid: str, writer: str, sequence: int) -> str:
    """Key of one group of ledger entries of one engine."""
    return f"{ledger(uid)}{writer}/{sequence:08d}"


def ledger_state(uid: str, writer: str) -> str:
    """Key of the sum of one engine's ledger entries up to a sequence number."""
    return f"{ledger(uid)}{writer}/state"


def pins(uid: str, dataset_recipe: str) -> str:
    """Key of the source digests pinned for one object and dataset recipe."""
    return f"jobs/{uid}/pins/{dataset_recipe}.json"


def attempt_log(uid: str, stage: str, attempt: int) -> str:
    """Key of the log that an attempt left behind on a cluster."""
    return f"jobs/{uid}/logs/{stage}.{attempt}.jsonl"


def checkpoints(stage: str, identity: str) -> str:
    """Prefix of the checkpoints of an unfinished stage."""
    return f"checkpoints/{stage}/{identity}/"


def release(name: str, version: str) -> str:
    """Prefix of one released model."""
    return f"models/{name}/{version}/"


def latest(name: str) -> str:
    """Key of the pointer to the newest release."""
    return f"models/{name}/latest.json"


def probe(name: str) -> str:
    """Key of a short-lived object that shows whether the store is usable."""
    return PROBES + name
