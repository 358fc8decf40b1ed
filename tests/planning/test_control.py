"""Control requests hold once they were seen, newer ones win, and nonsense is told instead of guessed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from distillery.planning.control import Control, annotation, control_of, parse_time, timestamp

EARLY, LATE = "2026-11-03T12:30:00Z", "2026-11-03T14:00:00+01:00"
NOW = 1_793_800_000.0
"""A day later, the operator's clock."""


def asked(**requests: str) -> dict[str, str]:
    return {annotation(name.replace("_", "-")): value for name, value in requests.items()}


def test_without_requests_nothing_is_wanted() -> None:
    assert control_of({}, False, {}, NOW) == Control()


def test_a_time_without_an_offset_is_no_time() -> None:
    assert (parse_time("2026-11-03T12:30:00"), parse_time(""), parse_time("now")) == (None, None, None)
    assert parse_time(EARLY) == 1793709000.0


def test_the_later_of_suspend_and_resume_wins() -> None:
    suspended = asked(suspend_requested_at=LATE, resume_requested_at=EARLY)
    resumed = asked(suspend_requested_at=EARLY, resume_requested_at=LATE)
    assert control_of(suspended, False, {}, NOW).suspended
    assert not control_of(resumed, False, {}, NOW).suspended


def test_spec_suspend_wins_over_every_annotation() -> None:
    assert control_of(asked(resume_requested_at=LATE), True, {}, NOW).suspended


def test_a_request_outlives_its_annotation() -> None:
    first = control_of(asked(cancel_requested_at=EARLY), False, {}, NOW)
    assert control_of({}, False, first.handled, NOW) == first
    assert first.cancelled


def test_an_older_value_that_comes_back_changes_nothing() -> None:
    first = control_of(asked(suspend_requested_at=EARLY, resume_requested_at=LATE), False, {}, NOW)
    assert control_of(asked(suspend_requested_at=EARLY), False, first.handled, NOW) == first


def test_a_retry_undoes_a_cancellation_and_forgives_what_was_before() -> None:
    control = control_of(asked(cancel_requested_at=EARLY, retry_requested_at=LATE), False, {}, NOW)
    assert (control.cancelled, control.forgiven_before) == (False, NOW)


def test_reruns_of_several_stages_are_latched_side_by_side() -> None:
    first = control_of(asked(rerun_requested_at=f"{EARLY}/teacher"), False, {}, NOW)
    second = control_of(asked(rerun_requested_at=f"{LATE}/student"), False, first.handled, NOW)
    assert second.reruns == {"teacher": f"{EARLY}/teacher", "student": f"{LATE}/student"}


def test_what_is_not_understood_is_told_and_ignored() -> None:
    wrong = asked(
        suspend_requested_at="soon",
        rerun_requested_at=f"{EARLY}/nothing",
        retry_requested_at="2026-13-01T00:00:00Z",
    )
    control = control_of(wrong, False, {}, NOW)
    assert (control.suspended, control.reruns, control.handled) == (False, {}, {})
    assert control.complaints == (
        "annotation distillery.dev/suspend-requested-at: 'soon' is not understood "
        "→ write a time such as 2026-11-03T12:30:00Z",
        "annotation distillery.dev/retry-requested-at: '2026-13-01T00:00:00Z' is not understood "
        "→ write a time such as 2026-11-03T12:30:00Z",
        f"annotation distillery.dev/rerun-requested-at: '{EARLY}/nothing' is not understood "
        "→ write a time such as 2026-11-03T12:30:00Z/student",
    )


def test_an_approval_names_the_artifact_it_is_for() -> None:
    assert control_of(asked(approve_review="abc"), False, {}, NOW).approved == "abc"


@given(
    st.dictionaries(
        st.sampled_from(
            [
                "suspend-requested-at",
                "resume-requested-at",
                "cancel-requested-at",
                "retry-requested-at",
                "rerun-requested-at",
            ]
        ).map(annotation),
        st.sampled_from(
            [EARLY, LATE, "", "x", f"{EARLY}/teacher", f"{LATE}/dataset", "0001-01-01T00:00:00+23:59"]
        )
        | st.text(max_size=40),
    ),
    st.booleans(),
)
def test_any_annotation_can_be_read_and_reading_twice_is_reading_once(
    annotations: dict[str, str], suspend: bool
) -> None:
    once = control_of(annotations, suspend, {}, NOW)
    assert control_of(annotations, suspend, once.handled, NOW) == once


def test_a_request_from_the_future_waits_for_its_time() -> None:
    soon, later = timestamp(NOW + 59), timestamp(NOW + 61)
    assert control_of(asked(retry_requested_at=soon), False, {}, NOW).complaints == ()
    control = control_of(asked(retry_requested_at=later), False, {}, NOW)
    assert (control.handled, control.forgiven_before) == ({}, 0.0)
    assert control.complaints == (
        f"annotation distillery.dev/retry-requested-at: {later} is still to come → write the present time",
    )
    assert control_of(asked(retry_requested_at=later), False, {}, NOW + 61).complaints == ()


def test_a_retry_forgives_what_failed_before_the_operator_met_it_whatever_the_askers_clock_says() -> None:
    slow = asked(retry_requested_at=timestamp(NOW - 3600))
    first = control_of(slow, False, {}, NOW)
    assert (first.forgiven_before, first.restarted_at) == (NOW, NOW)
    assert control_of(slow, False, first.handled, NOW + 500) == first


def test_a_rerun_and_an_approval_start_the_deadline_anew() -> None:
    rerun = control_of(asked(rerun_requested_at=f"{EARLY}/teacher"), False, {}, NOW)
    approved = control_of(asked(approve_review="abc"), False, {}, NOW)
    assert (rerun.restarted_at, approved.restarted_at) == (NOW, NOW)
    assert (rerun.forgiven_before, approved.forgiven_before) == (NOW, 0.0)


def test_a_time_with_any_number_of_digits_is_not_latched() -> None:
    value = f"2026-11-03T12:30:00.{'0' * 300}Z"
    control = control_of(asked(retry_requested_at=value), False, {}, NOW)
    assert control.handled == {}
    assert control.complaints[0].startswith(
        "annotation distillery.dev/retry-requested-at: '2026-11-03T12:30:00.0"
    )
