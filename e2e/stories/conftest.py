"""What the stories share: the cluster with the operator of this checkout, and a teacher. Run by `make e2e`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).resolve().parents[2] / "tests")]

from place import SUMMARY, Job, Site, Teacher, small_job  # noqa: E402

from children import pytest_runtest_call  # noqa: E402, F401


@pytest.fixture(scope="session")
def site() -> Site:
    """The running cluster, with the operator of this checkout."""
    if not SUMMARY.exists():
        pytest.fail("there is no cluster: bring it up with `make e2e-up`")
    found = Site()
    found.install_operator()
    return found


@pytest.fixture(scope="session")
def team(site: Site) -> Iterator[str]:
    """A team's namespace: restricted pods, its Secrets."""
    name = f"support-{os.urandom(3).hex()}"
    site.make_namespace(name)
    yield name
    site.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="session")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Teacher]:
    """A teacher that answers quickly; what it has answered is on its bill."""
    with Teacher(tmp_path_factory.mktemp("teacher")).running("--delay", "0.05") as found:
        yield found


@pytest.fixture(scope="session")
def fast_watchdogs(site: Site) -> str:
    """A profile whose watchdogs do not let a test wait for long."""
    spec = {"checkpointWindow": "30s", "pendingDeadline": "5m", "heartbeatDeadline": "90s"}
    site.apply(
        {
            "apiVersion": "distillery.dev/v1alpha1",
            "kind": "DistillationProfile",
            "metadata": {"name": "impatient"},
            "spec": spec,
        }
    )
    return "impatient"


@pytest.fixture(scope="session")
def first_job(site: Site, team: str, teacher: Teacher) -> Job:
    """The job of the first story; later stories find its work in the store."""
    return small_job(site, team, "ticket-routing", teacher, f"first-{os.urandom(3).hex()}")
