"""Whether the teacher as a whole is down, as opposed to single rows that fail. Pure; monotonic seconds.

When as many calls in a row failed as run at once, fresh rows are held back and only probes go out: an
outage must not burn through all rows. Any success ends it.
"""

from __future__ import annotations

from dataclasses import dataclass

PROBE_SECONDS = 1.0
"""Between probes, at most."""
PROBES = 3
"""So many rows that never failed before have to fail as well."""


@dataclass(slots=True)
class Health:
    """A circuit breaker. `threshold` failures in a row open it."""

    threshold: int
    outage_seconds: float
    """An open circuit that lasts this long is an outage."""
    startup_seconds: float
    """The same as long as the teacher has never answered."""
    answered: bool = False
    responded_at: float = float("-inf")
    """When the teacher last understood a call."""
    failures: int = 0
    since: float = 0.0
    """When the current row of failures began."""
    last: str = ""
    """What went wrong last."""
    last_probe: float = float("-inf")
    probes: int = 0
    """Fresh rows sent since the circuit opened."""

    @property
    def is_open(self) -> bool:
        """Whether the last `threshold` calls all failed."""
        return self.failures >= self.threshold

    @property
    def patience(self) -> float:
        """How long a teacher may be away, in seconds: one that was never there, not for long."""
        return self.outage_seconds if self.answered else self.startup_seconds

    def succeeded(self, now: float) -> None:
        """Note an answered call."""
        self.answered = True
        self.responded(now)

    def responded(self, now: float) -> None:
        """Note a call that the teacher understood, and answered or turned down."""
        self.failures = self.probes = 0
        self.responded_at = now

    def failed(self, now: float, message: str) -> None:
        """Note a call that failed for no fault of its row."""
        self.last = message
        if self.failures == 0:
            self.since = now
        self.failures += 1

    def allows_fresh(self, now: float) -> bool:
        """Return whether a row that was not tried yet may be sent: always, or as a probe once a second."""
        return not self.is_open or now - self.last_probe >= min(PROBE_SECONDS, self.startup_seconds / 4)

    def sent_fresh(self, now: float) -> None:
        """Note that a fresh row goes out."""
        self.last_probe = now
        self.probes += self.is_open

    def is_down(self, now: float) -> bool:
        """Return whether the stage should give up on the teacher for now."""
        return self.is_open and self.probes >= PROBES and now - self.since >= self.patience
