"""The queue's rules under any order of events, on a simulated clock."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from distillery.controller.schedule import FIRST_PAUSE, LONGEST_PAUSE, Schedule

KEYS = st.sampled_from("abcd")


class Life(RuleBasedStateMachine):
    """Events, work and time in any order against a model that keeps promises only: when a key is due at the latest."""

    @initialize(jitter=st.floats(0, 1, exclude_max=True))
    def begin(self, jitter: float) -> None:
        self.schedule = Schedule(lambda: jitter)
        self.now = 100.0
        self.working: set[str] = set()
        self.failures: dict[str, int] = {}
        self.dirty: set[str] = set()
        self.doomed: set[str] = set()
        self.latest: dict[str, float] = {}

    @rule(key=KEYS)
    def event(self, key: str) -> None:
        self.schedule.add(key, self.now)
        self.doomed.discard(key)
        if key in self.working:
            self.dirty.add(key)
        else:
            pause = FIRST_PAUSE if self.failures.get(key) else 0.0
            self.latest[key] = min(self.latest.get(key, float("inf")), self.now + pause)

    @rule(key=KEYS, seconds=st.floats(0, 50))
    def wish(self, key: str, seconds: float) -> None:
        self.schedule.add_at(key, self.now + seconds)
        if key not in self.working:
            self.latest[key] = min(self.latest.get(key, float("inf")), self.now + seconds)

    @rule(seconds=st.floats(0, 30))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def take(self) -> None:
        key = self.schedule.take(self.now)
        if key is None:
            assert not [k for k, due in self.latest.items() if due <= self.now]
            return
        assert key not in self.working, "two workers on one key"
        assert self.latest.pop(key) <= self.now, "earlier than asked for"
        self.working.add(key)

    @precondition(lambda self: self.working)
    @rule(data=st.data(), again=st.none() | st.floats(0, 50))
    def finish(self, data: st.DataObject, again: float | None) -> None:
        key = data.draw(st.sampled_from(sorted(self.working)))
        self.schedule.done(key, self.now, None if again is None else self.now + again)
        self.working.remove(key)
        self.failures.pop(key, None)
        if key in self.doomed:
            self.doomed.discard(key)
        elif key in self.dirty:
            self.latest[key] = self.now
        elif again is not None:
            self.latest[key] = self.now + again
        self.dirty.discard(key)

    @precondition(lambda self: self.working)
    @rule(data=st.data(), after=st.none() | st.floats(0, 100))
    def fail(self, data: st.DataObject, after: float | None) -> None:
        key = data.draw(st.sampled_from(sorted(self.working)))
        pause = self.schedule.failed(key, self.now, after)
        self.working.remove(key)
        self.failures[key] = self.failures.get(key, 0) + 1
        assert FIRST_PAUSE / 2 <= pause <= max(LONGEST_PAUSE, after or 0)
        assert pause >= (after or 0)
        if key in self.dirty:
            assert pause <= max(FIRST_PAUSE, after or 0)
        if key in self.doomed:
            self.doomed.discard(key)
            self.failures.pop(key)
        else:
            self.latest[key] = self.now + pause
        self.dirty.discard(key)

    @rule(key=KEYS)
    def gone(self, key: str) -> None:
        self.schedule.forget(key)
        self.latest.pop(key, None)
        self.failures.pop(key, None)
        self.dirty.discard(key)
        if key in self.working:
            self.doomed.add(key)

    @invariant()
    def the_figures_agree(self) -> None:
        if not hasattr(self, "schedule"):
            return
        assert self.schedule.working == len(self.working)
        for key in "abcd":
            assert (key in self.schedule) == (key in self.working or key in self.latest)
        assert self.schedule.oldest_age(self.now) >= 0
        assert self.schedule.longest_work(self.now) >= 0


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_failures_are_repeated_ever_more_slowly_up_to_a_minute_and_success_forgives():
    schedule = Schedule(lambda: 1.0)
    now, pauses = 0.0, []
    schedule.add("a", now)
    for _ in range(9):
        assert schedule.take(now) == "a"
        pauses.append(schedule.failed("a", now))
        now += pauses[-1]
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert schedule.take(now) == "a"
    schedule.done("a", now, now)
    assert schedule.take(now) == "a"
    assert schedule.failed("a", now) == 1


def test_what_the_server_asked_to_wait_for_counts_even_with_an_event():
    schedule = Schedule(lambda: 0.0)
    schedule.add("a", 0.0)
    schedule.take(0.0)
    schedule.add("a", 0.0)
    assert schedule.failed("a", 0.0, after=30.0) == 30.0
    assert schedule.next_due() == 30.0


def test_keys_are_worked_on_in_the_order_in_which_they_became_ready():
    schedule = Schedule(lambda: 0.0)
    schedule.add("b", 1.0)
    schedule.add("a", 2.0)
    schedule.add("b", 3.0)
    assert schedule.oldest_age(5.0) == 4.0
    assert [schedule.take(5.0), schedule.take(5.0), schedule.take(5.0)] == ["b", "a", None]


def test_a_wish_that_is_renewed_for_ever_does_not_grow_the_queue():
    schedule = Schedule(lambda: 0.0)
    for number in range(10_000):
        schedule.add_at("a", 100_000.0 - number)
    assert len(schedule._heap) < 200
    assert schedule.next_due() == 90_001.0
