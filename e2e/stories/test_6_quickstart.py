"""The quickstart on the cluster: its manifest with the storage in S3, and a student as good as the local one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from place import NODE, ROOT, Job, Site

import children
from distillery.api.v1alpha1.status import Status
from distillery.api.yaml import load_yaml
from distillery.runner.workdir import read_status

pytestmark = [pytest.mark.e2e, pytest.mark.full, pytest.mark.timeout(3600)]

EXAMPLE = ROOT / "examples" / "quickstart"


def local_run(folder: Path) -> Status:
    """Run the quickstart on this machine."""
    script = [sys.executable, str(EXAMPLE / "quickstart.py"), "--workdir", str(folder)]
    children.run(script, timeout=1800, check=True, stdout=subprocess.DEVNULL)
    status = read_status(folder)
    assert status is not None
    return status


def cluster_run(site: Site, namespace: str, tickets: Path) -> Status:
    """Run the same manifest on the cluster: storage, source and the teacher's address are all that differs."""
    prefix = f"quickstart-{os.urandom(3).hex()}"
    site.store(f"{prefix}-source").put("tickets.jsonl", tickets.read_bytes())
    spec: dict[str, Any] = load_yaml((EXAMPLE / "job.yaml").read_text(), "job.yaml")["spec"]
    bucket = f"s3://{site.s3['bucket']}"
    spec["storage"] = {
        "uri": f"{bucket}/{prefix}",
        "endpoint": site.s3["endpoint"],
        "credentialsSecret": "s3-credentials",
    }
    spec["dataset"]["sources"] = [{"uri": f"{bucket}/{prefix}-source/tickets.jsonl"}]
    command = [sys.executable, str(EXAMPLE / "teacher.py"), "--host", NODE, "--until-stdin-ends"]
    with children.running(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as teacher:
        assert teacher.stdout is not None
        spec["teacher"]["endpoint"]["url"] = teacher.stdout.readline().decode().strip()
        job = Job(site, namespace, "ticket-routing-quickstart", spec)
        status = job.ended(job.apply(), 1800)
    return status


def test_the_quickstart_releases_the_same_student_on_the_cluster(
    site: Site, team: str, tmp_path: Path
) -> None:
    here = local_run(tmp_path / "here")
    there = cluster_run(site, team, tmp_path / "here" / "tickets.jsonl")
    assert (there.phase, here.phase) == ("Succeeded", "Succeeded"), there
    a, b = here.evaluation, there.evaluation
    assert a is not None
    assert b is not None
    for name, status in (("here", here), ("on the cluster", there)):
        print(name, status.evaluation, status.cost)
    assert there.stages[0].summary == here.stages[0].summary
    assert a.retention is not None
    assert b.retention is not None
    assert a.interval is not None
    assert b.interval is not None
    assert a.interval[0] <= b.retention <= a.interval[1]
    assert b.interval[0] <= a.retention <= b.interval[1]
    assert [(gate.name, gate.result) for gate in a.gates] == [(gate.name, gate.result) for gate in b.gates]
    assert here.cost.spent == there.cost.spent
