"""When the next call may start: evenly spaced, paused as the teacher asks, as fast as it accepts. Pure.

All times are seconds of one monotonic clock, handed in by the caller.
"""

from __future__ import annotations

from collections.abc import Sequence

CATCH_UP = 0.05
"""Seconds by which late wake-ups may be made good; more would be a burst, none would cost throughput."""
WINDOW = 0.5
"""Replies of so many seconds are judged together."""
MARGIN = 1.02
"""After throttled replies, calls are so much further apart than the accepted ones were."""
FIRST_EASE = 0.01
MOST_EASE = 0.2
"""By which share a window without throttled replies narrows the spacing; doubled from window to window."""
WIDEST = 10.0
NARROWEST = 1e-4


class Pacer:
    """Spaces calls `60 / requests_per_minute` apart; a throttled reply pauses, and teaches the teacher's real rate.

    The configured rate is a cap, not the truth. A window with throttled replies sets the spacing to that of the
    accepted calls; windows without any narrow it again, ever faster, down to the cap (decrease by
    measurement, increase by probing, as TCP does).
    """

    def __init__(self, requests_per_minute: int | None) -> None:
        self.cap = 60.0 / requests_per_minute if requests_per_minute else 0.0
        self.spacing = self.cap
        self.paused_until = 0.0
        self._next = float("-inf")
        self._began: float | None = None
        self._accepted = 0
        self._throttled = 0
        self._ease = FIRST_EASE

    def begin(self) -> None:
        """Forget the current window: what follows has nothing to do with the replies before."""
        self._began, self._accepted, self._throttled = None, 0, 0

    def delay(self, now: float) -> float:
        """Return the seconds until the next call may start, 0 if it may start now."""
        return max(self.paused_until - now, self._next - now, 0.0)

    def sent(self, now: float) -> None:
        """Take the slot of a call that starts now."""
        self._next = max(self._next, now - CATCH_UP) + self.spacing

    def accepted(self, now: float) -> None:
        """Note a reply that was not throttled."""
        self._accepted += 1
        self._judge(now)

    def throttled(self, now: float, wait: float) -> None:
        """Note a throttled reply; nothing is sent for `wait` seconds."""
        self.paused_until = max(self.paused_until, now + wait)
        self._throttled += 1
        self._judge(now)

    def hear(self, now: float, accepted: int, waits: Sequence[float]) -> None:
        """Note several replies at once: how many were not throttled, and the waits of those that were."""
        self._accepted += accepted
        self._throttled += len(waits)
        self.paused_until = max(self.paused_until, now + max(waits, default=0.0))
        if accepted or waits:
            self._judge(now)

    def _judge(self, now: float) -> None:
        if self._began is None:
            self._began = now
        elapsed = now - self._began
        if elapsed < WINDOW:
            return
        if self._throttled:
            gap = elapsed / self._accepted if self._accepted else 2 * max(self.spacing, NARROWEST)
            self.spacing = min(max(self.cap, MARGIN * gap), WIDEST)
            self._ease = FIRST_EASE
        elif self.spacing > self.cap:
            narrower = self.spacing * (1 - self._ease)
            self.spacing = max(self.cap, narrower if narrower > NARROWEST else 0.0)
            self._ease = min(2 * self._ease, MOST_EASE)
        self._began, self._accepted, self._throttled = now, 0, 0
