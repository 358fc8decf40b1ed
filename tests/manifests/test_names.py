from __future__ import annotations

import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distillery.manifests.metadata import attempt_labels
from distillery.manifests.names import (
    account_name,
    attempt_name,
    record_name,
    reports_name,
    snapshot_name,
)
from distillery.planning.record import JobRef
from distillery.stages.stage import STAGE_NAMES

REF = JobRef("ticket-routing", "support", "5c0f7a1e-3b52-4d0c-9d52-1f6f5a0f8f7b")
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
DNS_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
DNS_1123 = re.compile(r"[a-z0-9]([-.a-z0-9]*[a-z0-9])?")
LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?")

job_names = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", fullmatch=True) | st.from_regex(
    r"[a-z0-9]([-.a-z0-9]{0,200}[a-z0-9])?", fullmatch=True
)
refs = st.builds(JobRef, job_names, st.just("support"), st.uuids().map(str))
stages = st.sampled_from(STAGE_NAMES)
attempts = st.integers(min_value=1, max_value=99_999)
identities = st.none() | st.text("0123456789abcdef", min_size=64, max_size=64)


def test_names_are_those_of_the_design() -> None:
    assert record_name(REF) == "ticket-routing-5c0f7a1e-record"
    assert reports_name(REF) == "ticket-routing-5c0f7a1e-reports"
    assert snapshot_name(REF, 3) == "ticket-routing-5c0f7a1e-profile-3"
    retried = snapshot_name(REF, 3, ["2026-11-03T12:30:00Z"])
    assert retried == "ticket-routing-5c0f7a1e-profile-3-9b8c29a2"
    assert account_name(REF) == "ticket-routing-5c0f7a1e"
    assert attempt_name(REF, "student", 2, "abc") == "ticket-routing-student-2-bd6f4fa6"


def test_a_name_that_starts_with_a_digit_gets_a_letter_for_kuberay() -> None:
    name = attempt_name(JobRef("2026-tickets", "support", REF.uid), "filter", 1, None)
    assert name.startswith("j2026-tickets-filter-1-")


@unhurried
@given(refs, stages, attempts, identities)
def test_attempt_names_suit_kuberay(ref: JobRef, stage: str, attempt: int, identity: str | None) -> None:
    name = attempt_name(ref, stage, attempt, identity)
    assert len(name) <= 47
    assert DNS_1035.fullmatch(name)


@unhurried
@given(refs, stages, attempts, identities)
def test_an_attempt_has_the_same_name_every_time(
    ref: JobRef, stage: str, attempt: int, identity: str | None
) -> None:
    again = JobRef(ref.name, ref.namespace, ref.uid)
    assert attempt_name(again, stage, attempt, identity) == attempt_name(ref, stage, attempt, identity)


@unhurried
@given(refs, st.lists(st.tuples(stages, attempts, identities), unique=True, max_size=30))
def test_different_attempts_of_a_job_have_different_names(
    ref: JobRef, keys: list[tuple[str, int, str | None]]
) -> None:
    keys = list({(stage, attempt): (stage, attempt, identity) for stage, attempt, identity in keys}.values())
    assert len({attempt_name(ref, *key) for key in keys}) == len(keys)


@unhurried
@given(job_names, st.lists(st.uuids().map(str), unique=True, max_size=30))
def test_objects_of_the_same_name_at_different_times_share_no_child(name: str, uids: list[str]) -> None:
    refs = [JobRef(name, "support", uid) for uid in uids]
    assert len({attempt_name(ref, "teacher", 1, "same") for ref in refs}) == len(uids)
    assert len({record_name(ref) for ref in refs}) == len({uid[:8] for uid in uids})


@unhurried
@given(refs, st.integers(min_value=1, max_value=10**9))
def test_names_and_labels_are_valid_for_kubernetes(ref: JobRef, generation: int) -> None:
    for name in (record_name(ref), reports_name(ref), snapshot_name(ref, generation), account_name(ref)):
        assert DNS_1123.fullmatch(name)
        assert len(name) <= 253
    assert len(account_name(ref)) <= 63
    for value in attempt_labels(ref, "student", 7).values():
        assert LABEL_VALUE.fullmatch(value)
        assert len(value) <= 63


@pytest.mark.parametrize("attempt", [-1, 10**12])
def test_an_attempt_number_that_no_record_reaches_is_refused(attempt: int) -> None:
    with pytest.raises(ValueError, match="cannot be named"):
        attempt_name(REF, "evaluation", attempt, None)
