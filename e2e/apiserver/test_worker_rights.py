"""What the token in a head pod may do, by the Role that the operator renders: read its record, write its reports."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

import children
from distillery.api.v1alpha1.common import Storage
from distillery.api.yaml import load_yaml
from distillery.kube.client import Kube
from distillery.kube.errors import Forbidden, Stale
from distillery.kube.resources import (
    CONFIG_MAPS,
    DISTILLATION_JOBS,
    EVENTS,
    PODS,
    RAY_JOBS,
    ROLE_BINDINGS,
    ROLES,
    SERVICE_ACCOUNTS,
    Resource,
)
from distillery.manifests.configmap import record_map, reports_map
from distillery.manifests.names import account_name, record_name, reports_name
from distillery.manifests.rbac import role, role_binding, service_account
from distillery.planning.record import JobRef
from distillery.stages.assignment import Assignment
from distillery.stages.report import Report
from distillery.stages.stage import StageRun
from kube.apiserver import ApiServer, kubectl

pytestmark = [pytest.mark.kube, pytest.mark.timeout(300)]

SECRETS = Resource("", "v1", "secrets", "Secret")
RUN = StageRun(
    stage="dataset",
    recipe="r",
    params={},
    consumes=[],
    spec_digest="s",
    job_name="tickets",
    job_uid="u",
)


def refs(namespace: str) -> tuple[JobRef, JobRef]:
    """Two jobs of one namespace."""
    return (
        JobRef("tickets", namespace, "0123abcd-0000-4000-8000-000000000001"),
        JobRef("others", namespace, "4567abcd-0000-4000-8000-000000000002"),
    )


@pytest.fixture
def pod(apiserver: ApiServer, namespace: str, tmp_path: Path) -> Path:
    """The kubeconfig of a head pod of the first job; both jobs have what the operator gives them."""

    async def prepare(kube: Kube) -> None:
        for ref in refs(namespace):
            await kube.create(CONFIG_MAPS, record_map(ref))
            await kube.create(CONFIG_MAPS, reports_map(ref))
            await kube.create(SERVICE_ACCOUNTS, service_account(ref))
            await kube.create(ROLES, role(ref))
            await kube.create(ROLE_BINDINGS, role_binding(ref, account_name(ref)))
        await kube.create(
            SECRETS,
            {"metadata": {"name": "teacher", "namespace": namespace}, "stringData": {"api-key": "sk-1"}},
        )

    apiserver.act(prepare)
    token = kubectl(apiserver, "-n", namespace, "create", "token", account_name(refs(namespace)[0])).strip()
    config = load_yaml(apiserver.kubeconfig.read_text(), "kubeconfig")
    config["users"] = [{"name": user["name"], "user": {"token": token}} for user in config["users"]]
    path = tmp_path / "pod"
    path.write_text(json.dumps(config))
    return path


def test_a_head_pod_can_read_its_record_and_write_its_reports_and_nothing_else(
    pod: Path, namespace: str
) -> None:
    mine, other = refs(namespace)

    async def scene() -> None:
        async with Kube.connect(str(pod)) as kube:
            await kube.get(CONFIG_MAPS, record_name(mine), namespace)
            reports = await kube.get(CONFIG_MAPS, reports_name(mine), namespace)
            version = reports["metadata"]["resourceVersion"]
            patch = {"metadata": {"resourceVersion": version}, "data": {"dataset.1": "{}"}}
            written = await kube.merge(CONFIG_MAPS, reports_name(mine), patch, namespace)
            assert written["data"] == {"dataset.1": "{}"}
            with pytest.raises(Stale):
                await kube.merge(CONFIG_MAPS, reports_name(mine), patch, namespace)
            some = {"data": {"dataset.1": "{}"}}
            named = {"metadata": {"name": reports_name(mine), "namespace": namespace}}
            forbidden: dict[str, Coroutine[Any, Any, object]] = {
                "write the record": kube.merge(CONFIG_MAPS, record_name(mine), some, namespace),
                "read another job's record": kube.get(CONFIG_MAPS, record_name(other), namespace),
                "read another job's reports": kube.get(CONFIG_MAPS, reports_name(other), namespace),
                "write another job's reports": kube.merge(CONFIG_MAPS, reports_name(other), some, namespace),
                "replace the reports": kube.replace(CONFIG_MAPS, written),
                "delete the reports": kube.delete(
                    CONFIG_MAPS, reports_name(mine), namespace, uid=reports["metadata"]["uid"]
                ),
                "create a ConfigMap": kube.create(
                    CONFIG_MAPS, {"metadata": {**named["metadata"], "name": "new"}}
                ),
                "read a ConfigMap of another namespace": kube.get(
                    CONFIG_MAPS, "kube-root-ca.crt", "kube-system"
                ),
                "read the Secret": kube.get(SECRETS, "teacher", namespace),
                "read the job": kube.get(DISTILLATION_JOBS, "tickets", namespace),
                "read its account": kube.get(SERVICE_ACCOUNTS, account_name(mine), namespace),
                "widen its Role": kube.merge(ROLES, account_name(mine), {"rules": []}, namespace),
                **{
                    f"list {resource.plural}": kube.list(resource, namespace)
                    for resource in (CONFIG_MAPS, SECRETS, PODS, RAY_JOBS, DISTILLATION_JOBS, EVENTS, ROLES)
                },
            }
            for deed, attempt in forbidden.items():
                with pytest.raises(Forbidden):
                    print(deed, await attempt)

    asyncio.run(scene())


def test_a_worker_process_needs_no_more_than_that(
    apiserver: ApiServer, pod: Path, namespace: str, tmp_path: Path
) -> None:
    mine, _ = refs(namespace)
    assignment = Assignment(
        run=RUN,
        attempt=1,
        storage=Storage(uri=f"file://{tmp_path}/store"),
        namespace=namespace,
        record=record_name(mine),
        reports=reports_name(mine),
        heartbeat_seconds=1.0,
    )
    file = tmp_path / "assignment.json"
    file.write_text(assignment.model_dump_json(by_alias=True))
    done = children.run(
        [sys.executable, "-m", "distillery.worker"],
        env=os.environ
        | {
            "DISTILLERY_ASSIGNMENT": str(file),
            "DISTILLERY_FOLDER": str(tmp_path / "pod-disk"),
            "KUBECONFIG": str(pod),
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    held = apiserver.act(lambda kube: kube.get(CONFIG_MAPS, reports_name(mine), namespace))
    report = Report.model_validate_json(held["data"]["dataset.1"])
    assert (report.incarnation, report.state) == (1, "failed")
    assert report.failure is not None
