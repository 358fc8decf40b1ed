"""When the next call may start: evenly spaced, paused as the teacher asks, slower after refusals. Pure.

All times are seconds of one monotonic clock, handed in by the caller.
"""

from __future__ import annotations

CATCH_UP = 0.05
"""Seconds by which late wake-ups may be made good; more would be a burst, none would cost throughput."""
SLOW_DOWN = 1.3
RECOVERY = 0.98
"""Factor on the spacing per second without a refusal."""
FIRST_SPACING = 0.01
"""Spacing assumed at the first refusal if no limit is configured and too little was sent to know the rate."""


class Pacer:
    """Spaces calls `60 / requests_per_minute` apart; after a rate refusal pauses, then widens the spacing.

    The configured rate is a cap, not the truth: refusals (HTTP 429) widen the spacing by a factor, at most
    once a second; quiet seconds narrow it again (multiplicative decrease and increase, as in TCP-like
    limiters).
    """

    def __init__(self, requests_per_minute: int | None) -> None:
        self.cap = 60.0 / requests_per_minute if requests_per_minute else 0.0
        self.spacing = self.cap
        self.paused_until = 0.0
        self._next = float("-inf")
        self._adjusted = float("-inf")
        self._last_sent = float("-inf")
        self._recent_gap: float | None = None

    def delay(self, now: float) -> float:
        """Return the seconds until the next call may start, 0 if it may start now."""
        return max(self.paused_until - now, self._next - now, 0.0)

    def sent(self, now: float) -> None:
        """Take the slot of a call that starts now."""
        self._recover(now)
        if self._last_sent > float("-inf"):
            gap = min(now - self._last_sent, 1.0)
            self._recent_gap = gap if self._recent_gap is None else 0.95 * self._recent_gap + 0.05 * gap
        self._last_sent = now
        self._next = max(self._next, now - CATCH_UP) + self.spacing

    def refused(self, now: float, wait: float) -> None:
        """Pause for `wait` seconds and widen the spacing after a rate refusal."""
        self.paused_until = max(self.paused_until, now + wait)
        if now - self._adjusted < 1.0:
            return
        self._adjusted = now
        self.spacing = max(self.spacing, self._recent_gap or FIRST_SPACING, 1e-4) * SLOW_DOWN

    def _recover(self, now: float) -> None:
        """Narrow the spacing for every quiet second since the last change."""
        if self.spacing <= self.cap or now - self._adjusted < 1.0:
            return
        quiet = now - max(self._adjusted, self.paused_until)
        if quiet < 1.0:
            return
        self.spacing = max(self.cap, self.spacing * RECOVERY**quiet)
        self._adjusted = now
        if self.spacing < 1e-4:
            self.spacing = self.cap
