"""Whether the teacher as a whole is down, as opposed to single rows that fail. Pure; monotonic seconds.

When as many calls in a row failed as run at once, fresh rows are held back and only probes go out: an
outage must not burn through all rows. Any reply ends it. What tells an outage from bad rows is how many
different rows fail while nobody is answered.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from distillery.querying.request_queue import PendingRequest

PROBE_SECONDS = 1.0
"""Between probes, at most."""
WITNESSES = 8
"""So many different rows have to fail before that is the teacher's fault: fewer may all be bad rows, which no
later attempt could answer either."""


@dataclass(slots=True)
class CircuitBreaker:
    """A circuit breaker. `threshold` failures in a row open it."""

    threshold: int
    outage_seconds: float
    """Failures that last this long without a reply between are an outage."""
    startup_seconds: float
    """The same as long as the teacher has never answered."""
    answered: bool = False
    responded_at: float = float("-inf")
    """When the teacher last understood a call."""
    failures: int = 0
    since: float = 0.0
    """When the current row of failures began."""
    paused_until: float = float("-inf")
    """A pause that the teacher asked for is no absence."""
    last: str = ""
    """What went wrong last."""
    last_probe: float = float("-inf")
    witnesses: set[str] = field(default_factory=set)
    """Keys of the requests that failed since, without those that fail while others are answered."""

    @property
    def is_open(self) -> bool:
        """Whether the last `threshold` calls all failed."""
        return self.failures >= self.threshold

    @property
    def patience(self) -> float:
        """How long a teacher may be away, in seconds: one that was never there, not for long."""
        return self.outage_seconds if self.answered else self.startup_seconds

    def begin(self) -> None:
        """Begin a round: the time since the last one is no outage."""
        self.failures = 0
        self.witnesses.clear()

    def succeeded(self, now: float) -> None:
        """Note an answered call."""
        self.answered = True
        self.responded(now)

    def responded(self, now: float) -> None:
        """Note a call that the teacher understood, and answered or turned down."""
        self.failures = 0
        self.witnesses.clear()
        self.responded_at = now

    def asked_to_wait(self, until: float) -> None:
        """Note a throttled reply: nothing is sent before."""
        self.paused_until = max(self.paused_until, until)

    def failed(self, now: float, request: PendingRequest, message: str) -> None:
        """Note a failed call, after the request itself has."""
        self.last = message
        if self.failures == 0:
            self.since = now
        self.failures += 1
        if not (request.is_suspect or request.is_outlived):
            self.witnesses.add(request.key)

    def allows_fresh(self, now: float) -> bool:
        """Return whether a row that was not tried yet may be sent: always, or as a probe once a second."""
        return not self.is_open or now - self.last_probe >= min(PROBE_SECONDS, self.startup_seconds / 4)

    def sent_fresh(self, now: float) -> None:
        """Note that a fresh row goes out."""
        self.last_probe = now

    def is_down(self, now: float, under_way: int) -> bool:
        """Return whether the stage should give up on the teacher for now.

        Not while more calls are under way than rows have failed: those may be answers that take their time.
        """
        enough = len(self.witnesses) >= max(WITNESSES, under_way)
        return enough and now - max(self.since, self.paused_until) >= self.patience

    def leaves(self, request: PendingRequest, now: float, *, fresh: bool) -> bool:
        """Return whether a request that has just failed stays unanswered.

        Either it is to blame, or it was tried as long as an outage may last and nobody is there to say whose fault
        it is: few rows are left, and no `fresh` ones.
        """
        if request.is_spent(self.answered):
            return True
        undecided = not fresh and len(self.witnesses) < WITNESSES
        away = now - max(request.away_since, self.paused_until)
        return away >= self.patience and (request.is_suspect or undecided)
