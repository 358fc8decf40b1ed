"""Names of a job's children: a function of the job and the attempt, so that creating twice meets 409. Pure.

Two objects of the same name at different times have different uids, and so have their children.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence

from distillery.planning.record import JobRef
from distillery.stages.stage import StageName

MAX_LABEL_VALUE = 63
"""Characters of a label value; names that appear as label values keep to it."""
MAX_ATTEMPT_NAME = 47
"""Characters of a RayJob's name that KubeRay accepts; it checks after creation, not before."""
JOB_PART = 20
"""Characters of the job's name within an attempt's name."""


def record_name(ref: JobRef) -> str:
    """Return the name of the ConfigMap that only the operator writes."""
    return f"{_owned(ref)}-record"


def reports_name(ref: JobRef) -> str:
    """Return the name of the ConfigMap that only the job's workers write."""
    return f"{_owned(ref)}-reports"


def snapshot_name(ref: JobRef, generation: int, requests: Sequence[str] = ()) -> str:
    """Return the name of the ConfigMap that keeps what a generation of the job began with.

    Args:
        ref: the job.
        generation: of the job.
        requests: the retry and rerun requests in force: each begins anew.
    """
    name = f"{_owned(ref)}-profile-{generation}"
    return f"{name}-{_digest(*requests)}" if requests else name


def account_name(ref: JobRef) -> str:
    """Return the name of the job's ServiceAccount and Role: at most 63 characters."""
    return _owned(ref)


def binding_name(ref: JobRef, account: str) -> str:
    """Return the name of the RoleBinding for a ServiceAccount: another account gets another binding."""
    own = account_name(ref)
    return own if account == own else f"{own}-{_digest(account)}"


def attempt_name(ref: JobRef, stage: StageName, attempt: int, identity: str | None) -> str:
    """Return the name of an attempt's RayJob and ConfigMap: a DNS-1035 label of at most 47 characters.

    Raises: ValueError for an attempt number that no record reaches.
    """
    digest = _digest(ref.uid, identity or "", attempt, stage)
    name = f"{_label_start(ref.name)}-{stage}-{attempt}-{digest}"
    if attempt < 0 or len(name) > MAX_ATTEMPT_NAME:
        raise ValueError(f"attempt {attempt} of {ref.name} cannot be named")
    return name


def _owned(ref: JobRef) -> str:
    uid8 = ref.uid.replace("-", "")[:8]
    job = ref.name[: MAX_LABEL_VALUE - len(uid8) - 1].rstrip("-.")
    return f"{job}-{uid8}"


def _label_start(name: str) -> str:
    """Return a name as the start of a DNS-1035 label: a letter first, no dots, no double or last dash."""
    cleaned = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    if not cleaned[:1].isalpha():
        cleaned = f"j{cleaned}"
    return cleaned[:JOB_PART].rstrip("-")


def _digest(*parts: str | int) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:8]
