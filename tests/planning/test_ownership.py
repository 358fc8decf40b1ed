"""A job's children are those that a chain of controllers leads to, whatever labels say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distillery.planning.children import Child, ClusterView, ObjectView, Owner, PodView, RayJobView
from distillery.planning.ownership import Parents, children_of, controlled_by, owned_by
from distillery.planning.record import AttemptRecord, JobRef

REF = JobRef("tickets", "support", "job-uid")
JOB = Owner("distillery.dev", "DistillationJob", "tickets", "job-uid")
KEY = "teacher.2"
ENTRY = AttemptRecord(
    stage="teacher", attempt=2, recipe="r", generation=1, name="tickets-teacher-2-ab", started_at=1.0
)
ENTRIES = {KEY: ENTRY}
RAY_JOB = RayJobView(
    "support", ENTRY.name, "rayjob-uid", "job-uid", KEY, 2.0, "RUNNING", "Running", owner=JOB, managed=True
)
CLUSTER = ClusterView(
    "support",
    f"{ENTRY.name}-x7k2p",
    "cluster-uid",
    "job-uid",
    KEY,
    3.0,
    owner=Owner("ray.io", "RayJob", RAY_JOB.name, RAY_JOB.uid),
    managed=True,
)
POD = PodView(
    "support",
    f"{CLUSTER.name}-head",
    "pod-uid",
    "job-uid",
    KEY,
    4.0,
    owner=Owner("ray.io", "RayCluster", CLUSTER.name, CLUSTER.uid),
    managed=True,
)
FAMILY = (RAY_JOB, CLUSTER, POD)
ENDED = replace(RAY_JOB, deployment_status="Complete")


def believed(*children: Child, entry: AttemptRecord = ENTRY, parents: Parents | None = None) -> list[Child]:
    return list(children_of(REF, children, {KEY: entry}, parents))


def test_a_chain_of_controllers_is_followed_from_the_job_to_its_pods() -> None:
    assert believed(*FAMILY) == list(FAMILY)
    assert believed(*reversed(FAMILY)) == list(FAMILY)


def test_the_attempt_of_a_child_is_that_of_its_rayjob_whatever_labels_say() -> None:
    mislabelled = [replace(child, key="student.9") for child in FAMILY]
    assert believed(*mislabelled) == list(FAMILY)
    assert believed(*(replace(child, key="") for child in FAMILY)) == list(FAMILY)


@pytest.mark.parametrize(
    "changes",
    [
        {"namespace": "evil"},
        {"owner": None},
        {"owner": replace(JOB, uid="another")},
        {"owner": replace(JOB, name="another")},
        {"owner": replace(JOB, kind="Job")},
        {"owner": replace(JOB, group="batch")},
        {"owner": replace(JOB, group="")},
        {"managed": False},
        {"job_uid": "another"},
        {"name": "a-copy-for-debugging"},
    ],
)
def test_without_its_rayjob_nothing_below_it_is_believed(changes: dict[str, Any]) -> None:
    stranger = replace(RAY_JOB, **changes)
    assert believed(stranger, replace(CLUSTER, owner=Owner("ray.io", "RayJob", "x", RAY_JOB.uid)), POD) == []


@pytest.mark.parametrize("field", ["group", "kind", "uid"])
def test_a_link_that_is_wrong_ends_the_chain(field: str) -> None:
    assert CLUSTER.owner is not None
    assert POD.owner is not None
    astray = replace(CLUSTER, owner=replace(CLUSTER.owner, **{field: "another"}))
    assert believed(RAY_JOB, astray, POD) == [RAY_JOB]
    lost = replace(POD, owner=replace(POD.owner, **{field: "another"}))
    assert believed(RAY_JOB, CLUSTER, lost) == [RAY_JOB, CLUSTER]


def test_what_is_left_of_a_record_that_was_deleted_is_the_jobs_and_a_copy_of_an_attempt_is_not() -> None:
    left = replace(RAY_JOB, name="tickets-filter-1-cd", uid="left", key="filter.1")
    assert believed(left) == [left]
    assert believed(replace(left, key=KEY)) == []


def test_children_of_parents_that_are_gone_are_known_by_the_noted_uids() -> None:
    noted = ENTRY.model_copy(update={"ray_job_uid": RAY_JOB.uid, "ray_cluster_uids": [CLUSTER.uid]})
    assert believed(CLUSTER, POD, entry=noted) == [CLUSTER, POD]
    assert believed(POD, entry=noted) == [POD]
    assert believed(POD, parents=Parents({}, {CLUSTER.uid: KEY})) == [POD]
    assert believed(POD, entry=noted.model_copy(update={"ended_at": 9.0})) == [POD]


def test_orphans_of_a_live_attempt_are_known_by_name_only_while_nothing_better_is() -> None:
    """As 5a4633b left them: no UID was noted, and the parent is gone."""
    assert believed(CLUSTER, POD) == [CLUSTER, POD]
    assert believed(POD) == [POD]
    assert believed(ENDED, POD) == [ENDED, POD]
    ended = ENTRY.model_copy(update={"ended_at": 9.0})
    assert believed(CLUSTER, POD, entry=ended) == []
    forged = replace(CLUSTER, owner=Owner("ray.io", "RayJob", ENTRY.name, "forged"), uid="forged")
    forged_pod = replace(POD, owner=Owner("ray.io", "RayCluster", f"{ENTRY.name}-aaaaa", "forged"))
    assert believed(RAY_JOB, forged, forged_pod) == [RAY_JOB]
    noted = ENTRY.model_copy(update={"ray_job_uid": RAY_JOB.uid, "ray_cluster_uids": [CLUSTER.uid]})
    assert believed(forged, forged_pod, entry=noted) == []


def test_an_object_is_the_jobs_own_by_place_controller_and_mark() -> None:
    own = ObjectView("support", "tickets-record", "u", "job-uid", JOB, True)
    assert owned_by(REF, own)
    for changes in ({"namespace": "b"}, {"owner": None}, {"managed": False}, {"job_uid": "x"}):
        assert not owned_by(REF, replace(own, **changes))
    assert controlled_by(REF, replace(own, managed=False, job_uid=""))


OWNERS = st.builds(
    Owner,
    st.sampled_from(["distillery.dev", "ray.io", "", "batch"]),
    st.sampled_from(["DistillationJob", "RayJob", "RayCluster", "Pod"]),
    st.sampled_from(["tickets", ENTRY.name, CLUSTER.name, f"{ENTRY.name}-other", "other"]),
    st.sampled_from(["job-uid", "rayjob-uid", "cluster-uid", "s1", "s2", "none"]),
)
STRANGERS = st.lists(
    st.builds(
        lambda child, namespace, name, uid, owner, marks: replace(
            child, namespace=namespace, name=name, uid=uid, owner=owner, job_uid=marks[0], managed=marks[1]
        ),
        st.sampled_from(FAMILY),
        st.sampled_from(["support", "evil"]),
        st.sampled_from([ENTRY.name, CLUSTER.name, POD.name, "other"]),
        st.sampled_from(["s1", "s2", "s3"]),
        st.one_of(st.none(), OWNERS),
        st.tuples(st.sampled_from(["job-uid", "other"]), st.booleans()),
    ),
    max_size=12,
)


def reaches(child: Child, all_of_them: Sequence[Child]) -> bool:
    """Say whether a chain leads from the job to a child, as the design has it: one link after the other."""
    owner = child.owner
    if owner is None or child.namespace != REF.namespace:
        return False
    if isinstance(child, RayJobView):
        return owner == JOB and child.managed and child.job_uid == REF.uid and child.name == ENTRY.name
    kind, above = ("RayJob", RayJobView) if isinstance(child, ClusterView) else ("RayCluster", ClusterView)
    return (owner.group, owner.kind) == ("ray.io", kind) and any(
        isinstance(parent, above) and parent.uid == owner.uid and reaches(parent, all_of_them)
        for parent in all_of_them
    )


@given(STRANGERS)
def test_of_any_crowd_exactly_those_are_believed_that_a_chain_leads_to(strangers: list[Child]) -> None:
    crowd = [*FAMILY, *strangers]
    found = children_of(REF, crowd, ENTRIES)
    assert sorted(found, key=repr) == sorted((c for c in crowd if reaches(c, crowd)), key=repr)
