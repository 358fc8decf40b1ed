"""Which question goes next: rows due for another try first, then fresh ones. Pure; monotonic seconds."""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from distillery.querying.answers import Question, UnansweredReason, Usage

MAX_TRIES: dict[UnansweredReason, int] = {
    "ServerError": 8,
    "ConnectionLost": 8,
    "TimedOut": 3,
    "UnreadableReply": 3,
    "NoChoices": 3,
}
"""How often a row may fail for one reason; the last three may each have been billed."""
AWAY: frozenset[UnansweredReason] = frozenset({"ServerError", "ConnectionLost"})
"""What a teacher that is away does to every row, at no cost: it counts only if others were answered meanwhile."""
STARTUP_TRIES: dict[UnansweredReason, int] = {
    "TimedOut": 1,
    "UnreadableReply": 2,
    "NoChoices": 2,
}
"""The same while the teacher has never answered."""


@dataclass(slots=True, eq=False)
class PendingRequest:
    """One question to buy, and what happened to it so far. `bound` is the reserve for one call, in picos."""

    question: Question
    key: str
    bound: int
    tries: int = 0
    """Failed calls."""
    failures: Counter[UnansweredReason] = field(default_factory=Counter)
    """Those that count against the row: not what happens to all rows during an outage."""
    failed_at: float = float("-inf")
    """When it failed last."""
    away_since: float = float("inf")
    """Since when the teacher is away for this row and, as far as is known, for every other."""
    usage: Usage | None = None
    """What failed calls cost, where the teacher said so."""
    sent_at: float = float("inf")
    """When its last call was sent."""
    is_outlived: bool = False
    """Whether others were answered while a call of it took too long or came to nothing."""

    def fail(
        self, reason: UnansweredReason, now: float, responded_at: float, *, spared: bool = False
    ) -> None:
        """Note a failed call.

        Args:
            reason: why; see AWAY.
            now: when.
            responded_at: when the teacher last understood any call.
            spared: the teacher is doubted, and other rows can show whether rightly.
        """
        self.tries += 1
        if reason not in AWAY:
            self.failures[reason] += not spared
            self.is_outlived = self.is_outlived or responded_at > self.sent_at
        elif responded_at > self.failed_at:
            self.failures[reason] += 1
            self.away_since = now
        else:
            self.away_since = min(self.away_since, now)
        self.failed_at = now

    @property
    def is_suspect(self) -> bool:
        """Whether it failed, others were answered, and it failed again: that is no outage."""
        return sum(self.failures[reason] for reason in AWAY) > 1

    def is_spent(self, answered: bool) -> bool:
        """Return whether another try is pointless."""
        most = MAX_TRIES if answered else MAX_TRIES | STARTUP_TRIES
        return any(count >= most[reason] for reason, count in self.failures.items())


class RequestQueue:
    """Requests that wait for their (next) call."""

    def __init__(self, requests: Iterable[PendingRequest]) -> None:
        self.fresh: deque[PendingRequest] = deque(requests)
        self._retries: list[tuple[float, int, PendingRequest]] = []
        self._count = 0

    def __len__(self) -> int:
        return len(self.fresh) + len(self._retries)

    def take(self, now: float, allow_fresh: bool, *, probe: bool = False) -> PendingRequest | None:
        """Return the next request that may be sent now, or None. A `probe` is a fresh one that goes first."""
        if self.fresh and allow_fresh and probe:
            return self.fresh.popleft()
        if self._retries and self._retries[0][0] <= now:
            return heapq.heappop(self._retries)[2]
        if self.fresh and allow_fresh:
            return self.fresh.popleft()
        return None

    def put_back(self, request: PendingRequest) -> None:
        """Return a request that could not be sent after all; it goes first."""
        self.fresh.appendleft(request)

    def retry(self, request: PendingRequest, at: float) -> None:
        """Send a request again at a later time."""
        self._count += 1
        heapq.heappush(self._retries, (at, self._count, request))

    def next_retry(self) -> float | None:
        """Return when the next retry is due, or None."""
        return self._retries[0][0] if self._retries else None


def backoff(failures: int, base: float, cap: float, luck: float) -> float:
    """Return the seconds before the next try: exponential, with full jitter over the upper half.

    `luck` is a random number in [0, 1); half of the delay is fixed so that retries never come at once.
    """
    delay: float = min(cap, base * 2 ** min(failures - 1, 30))
    return delay * (0.5 + 0.5 * luck)
