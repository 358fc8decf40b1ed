"""What can happen to a job on a cluster, each done to the real thing."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from place import ROOT, SYSTEM, Job, Site

import children
from distillery.stages.stage import STAGE_NAMES, StageName

COMPONENT = ROOT / "e2e/cluster/component"
OUTAGE_SECONDS = 60


@dataclass(frozen=True)
class Incident:
    """One thing that happens while a stage is at work, and in which it can.

    `restarts`: the stage may need another attempt for it.
    """

    name: str
    strike: Callable[[Job, str], None]
    restarts: bool = True
    stages: tuple[StageName, ...] = STAGE_NAMES


def _processes(*words: str) -> list[int]:
    """Return the ids of processes whose command line holds all the words."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if all(word in command for word in words) and int(folder.name) != os.getpid():
            found.append(int(folder.name))
    return found


def kill_operators(job: Job, stage: str) -> None:
    """SIGKILL every operator process, leader and standby; new pods, since the kubelet would wait longer each time."""
    for pid in _processes("-m distillery.controller"):
        os.kill(pid, signal.SIGKILL)
    for pod in job.site.get("-n", SYSTEM, "pods")["items"]:
        delete_pod(job.site, SYSTEM, pod["metadata"]["name"])


def delete_pod(site: Site, namespace: str, name: str) -> None:
    site.kubectl("-n", namespace, "delete", "pod", name, "--grace-period=0", "--force", "--wait=false")


def _kill_pod(job: Job, stage: str, kind: str) -> None:
    for pod in job.pods(stage):
        if pod["metadata"]["labels"].get("ray.io/node-type") == kind:
            delete_pod(job.site, job.namespace, pod["metadata"]["name"])
            return
    raise AssertionError(f"{stage} has no {kind} pod")


def kill_head(job: Job, stage: str) -> None:
    _kill_pod(job, stage, "head")


def kill_worker(job: Job, stage: str) -> None:
    _kill_pod(job, stage, "worker")


def delete_rayjob(job: Job, stage: str) -> None:
    name = job.rayjobs(stage)[-1]["metadata"]["name"]
    job.site.kubectl("-n", job.namespace, "delete", "rayjob", name, "--wait=false")


def delete_raycluster(job: Job, stage: str) -> None:
    name = job.rayjobs(stage)[-1]["status"]["rayClusterName"]
    job.site.kubectl("-n", job.namespace, "delete", "raycluster", name, "--wait=false")


def component(action: str, name: str) -> None:
    children.run([COMPONENT, action, name], timeout=600, check=True, stdout=subprocess.DEVNULL)


def s3_outage(job: Job, stage: str) -> None:
    component("stop", "s3")
    time.sleep(OUTAGE_SECONDS)
    component("start", "s3")


def restart_api_server(job: Job, stage: str) -> None:
    component("kill", "kube-apiserver")
    time.sleep(5)
    component("start", "kube-apiserver")


def restart_containerd(job: Job, stage: str) -> None:
    component("kill", "containerd")
    component("start", "containerd")


def both_operators_active(job: Job, stage: str) -> None:
    """Delete the Lease under the leader: the standby takes it while the other may still be at work."""
    job.site.kubectl("-n", SYSTEM, "delete", "lease", "--all")


def teacher_outage(job: Job, stage: str) -> None:
    assert job.teacher is not None
    job.teacher.fail_for(OUTAGE_SECONDS)


INCIDENTS = [
    Incident("operator killed", kill_operators, restarts=False),
    Incident("two operators active", both_operators_active, restarts=False),
    Incident("head pod killed", kill_head),
    Incident("worker pod killed", kill_worker, stages=("teacher", "student")),
    Incident("RayJob deleted", delete_rayjob),
    Incident("RayCluster deleted", delete_raycluster),
    Incident("S3 down for 60 s", s3_outage),
    Incident("API server restarted", restart_api_server, restarts=False),
    Incident("containerd restarted", restart_containerd, restarts=False),
    Incident("teacher answers 500 for 60 s", teacher_outage, stages=("dataset", "teacher", "evaluation")),
]
