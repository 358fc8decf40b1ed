"""The `submit` verb: a valid manifest becomes, or changes, the object on the cluster."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from typing import Any

from distillery.api.relative import unreachable_files
from distillery.api.v1alpha1.common import API_VERSION
from distillery.api.v1alpha1.distillation_job import KIND
from distillery.cli.cluster.access import Access
from distillery.cli.cluster.following import follow
from distillery.cli.exit_codes import ExitCode
from distillery.cli.invocation import WrittenJob
from distillery.cli.show import print_warnings
from distillery.errors import DistilleryError, Problem, SpecError
from distillery.kube.client import Object
from distillery.kube.errors import NotFound, Stale, Unavailable, Unusable
from distillery.kube.resources import DISTILLATION_JOBS

BOOKKEEPING = ("resourceVersion", "managedFields")
UNKNOWN_FIELD = "field not declared in schema"
"""How the API server words an applied field that its CRD lacks: with status 500, although it will never pass."""
FULL_NAME = f"{DISTILLATION_JOBS.kind.lower()}.{DISTILLATION_JOBS.group}"


@dataclass(frozen=True, slots=True)
class How:
    """The options of the verb."""

    wait: bool
    dry_run: bool
    force: bool
    output: str


async def submit(access: Access, written: WrittenJob, how: How) -> ExitCode:
    """Apply a manifest, say what happened, and follow the job if asked to.

    Raises: SpecError for what the API server finds wrong with the manifest, DistilleryError.
    """
    body = body_of(written, access)
    print_warnings(written.file, written.job)
    access = replace(access, namespace=body["metadata"]["namespace"])
    before = await access.kube.find(DISTILLATION_JOBS, body["metadata"]["name"], access.namespace)
    after = await _apply(access, written, body, how)
    _announce(access, _change(before, after), after, how)
    if how.wait and not how.dry_run:
        return await follow(access, after, how.output)
    return ExitCode.COMPLETE


def body_of(written: WrittenJob, access: Access) -> Object:
    """Return what is sent: the manifest as written, in its namespace, without what only the server sets.

    Raises: SpecError if it belongs to another namespace or names files of this machine.
    """
    metadata = written.metadata
    namespace = metadata.get("namespace") or access.namespace
    wanted = access.cluster.namespace
    if wanted is not None and wanted != namespace:
        message = f"the manifest belongs to namespace {namespace}, not to {wanted}"
        raise SpecError(Problem("--namespace", message, f"use -n {namespace} or edit metadata.namespace"))
    spec = written.job.spec.model_dump(mode="json", by_alias=True, exclude_unset=True)
    problems = unreachable_files(spec)
    if problems:
        raise SpecError(*(replace(problem, place=str(written.file)) for problem in problems))
    kept = {key: metadata[key] for key in ("labels", "annotations") if metadata.get(key)}
    sent = {"name": written.job.metadata.name, "namespace": namespace, **kept}
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": sent, "spec": spec}


async def _apply(access: Access, written: WrittenJob, body: Object, how: How) -> Object:
    try:
        return await access.kube.apply(DISTILLATION_JOBS, body, dry_run=how.dry_run, force=how.force)
    except (Unusable, Unavailable) as error:
        if isinstance(error, Unavailable) and UNKNOWN_FIELD not in error.message:
            raise
        raise SpecError(Problem(str(written.file), f"the API server refuses it: {error.message}")) from None
    except Stale as error:
        repair = "edit it where it is managed, or take the fields over with --force-conflicts"
        raise DistilleryError(f"{error.message} → {repair}") from None
    except NotFound as error:
        if error.kind_missing or "namespaces" not in error.message:
            raise
        repair = f"create it (kubectl create namespace {access.namespace}) or name another with -n"
        raise DistilleryError(f"namespace {access.namespace} does not exist → {repair}") from None


def _change(before: Object | None, after: Object) -> str:
    if before is None or before["metadata"]["uid"] != after["metadata"]["uid"]:
        return "created"
    return "unchanged" if _content(before) == _content(after) else "configured"


def _content(job: Object) -> Object:
    """Leave out what changes by itself: the status, and what the server touches at a second apply."""
    metadata = {key: value for key, value in job["metadata"].items() if key not in BOOKKEEPING}
    return {"metadata": metadata, "spec": job["spec"]}


def _announce(access: Access, change: str, job: Object, how: How) -> None:
    metadata = job["metadata"]
    if how.output == "json":
        event: dict[str, Any] = {"type": "submitted", "change": change, "dryRun": how.dry_run}
        event |= {key: metadata.get(key) for key in ("name", "namespace", "uid", "generation")}
        print(json.dumps(event), flush=True)
        return
    print(f"{FULL_NAME}/{metadata['name']} {change}{' (server dry run)' if how.dry_run else ''}", flush=True)
    if not how.dry_run and sys.stderr.isatty():
        print(f"follow it: distillery status {metadata['name']}{access.flags} --watch", file=sys.stderr)
