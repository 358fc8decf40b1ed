"""When to ask the API server again: pauses that grow while nothing succeeds."""

from __future__ import annotations

import random

from distillery.kube.errors import Unavailable

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
SHORT_PAUSE = 0.2
"""Before a watch goes on that ended in order: a server that ends each at once must not be hammered."""


class Backoff:
    """The pauses between tries of one thing."""

    def __init__(self) -> None:
        self._pause = 0.0

    def reset(self) -> None:
        """Something succeeded."""
        self._pause = 0.0

    def after(self, error: object) -> float:
        """Return for how many seconds to wait after an error: at least for as long as the server asked for."""
        self._pause = min(LONGEST_PAUSE, max(FIRST_PAUSE, self._pause * 2))
        asked = error.retry_after if isinstance(error, Unavailable) else None
        return max(asked or 0.0, self._pause * random.uniform(0.5, 1.0))
