"""Which question goes next: rows due for another try first, then fresh ones. Pure; monotonic seconds."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from distillery.querying.answers import Question, Usage
from distillery.querying.history import RowHistory, TeacherHistory


@dataclass(slots=True, eq=False)
class PendingRequest:
    """One question to ask, and what happened to it so far. `bound` is the reserve for one call, in picos."""

    question: Question
    key: str
    bound: int
    usage: Usage | None = None
    """What failed calls cost, where the teacher said so."""
    row: RowHistory = field(init=False)

    def __post_init__(self) -> None:
        self.row = RowHistory(self.question.row_id, self.key)


class RequestQueue:
    """Requests that wait for their (next) call."""

    def __init__(self, requests: Iterable[PendingRequest]) -> None:
        self.fresh: deque[PendingRequest] = deque(requests)
        self._retries: list[tuple[float, int, PendingRequest]] = []
        self._count = 0

    def __len__(self) -> int:
        return len(self.fresh) + len(self._retries)

    def take(self, teacher: TeacherHistory, now: float) -> PendingRequest | None:
        """Return the next request that may be sent now, or None. A fresh one probes a teacher that is doubted."""
        allow_fresh = bool(self.fresh) and teacher.allows_fresh(now)
        if allow_fresh and teacher.circuit_is_open:
            return self.fresh.popleft()
        if self._retries and self._retries[0][0] <= now:
            return heapq.heappop(self._retries)[2]
        if allow_fresh:
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
