"""Gathers texts that arrive one by one into batches of similar length, computed in a few threads."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

from zero_shot import Judgement, ZeroShot, use_one_core

BATCH = 32


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    tokens: list[int]
    judgement: asyncio.Future[Judgement]


class Batcher:
    """A classifier for concurrent callers of one event loop."""

    def __init__(self, classifier: ZeroShot, workers: int) -> None:
        self.categories = classifier.categories
        self._classifier = classifier
        self._tokens = lru_cache(maxsize=1024)(classifier.tokens)
        self._free = workers
        self._threads = ThreadPoolExecutor(workers, initializer=use_one_core)
        self._waiting: list[_Waiting] = []
        self._running: set[asyncio.Task[None]] = set()

    def count(self, text: str) -> int:
        """Return the number of tokens of a text."""
        return len(self._tokens(text))

    async def judge(self, text: str) -> Judgement:
        """Return the judgement of a text; the others of its batch have no influence on it."""
        future: asyncio.Future[Judgement] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(self._tokens(text), future))
        # Texts that arrived in the same turn of the loop join before a batch is cut.
        asyncio.get_running_loop().call_soon(self._start)
        return await future

    def close(self) -> None:
        """Wait for running batches and end the threads."""
        self._threads.shutdown()

    def _start(self) -> None:
        while self._free and self._waiting:
            self._free -= 1
            task = asyncio.create_task(self._run(self._cut()))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    def _cut(self) -> list[_Waiting]:
        """Take the text that has waited longest and those nearest to it in length: little padding, no starving."""
        oldest = self._waiting[0]
        ordered = sorted(self._waiting, key=lambda item: len(item.tokens))
        at = ordered.index(oldest)
        start = max(0, min(at - BATCH // 2, len(ordered) - BATCH))
        batch = ordered[start : start + BATCH]
        chosen = set(map(id, batch))
        self._waiting = [item for item in self._waiting if id(item) not in chosen]
        return batch

    async def _run(self, batch: list[_Waiting]) -> None:
        loop = asyncio.get_running_loop()
        try:
            rows = [item.tokens for item in batch]
            judgements = await loop.run_in_executor(self._threads, self._classifier.judge, rows)
            for item, judgement in zip(batch, judgements, strict=True):
                if not item.judgement.done():
                    item.judgement.set_result(judgement)
        except Exception as error:  # noqa: BLE001 - every caller of the batch learns of it
            for item in batch:
                if not item.judgement.done():
                    item.judgement.set_exception(error)
        finally:
            self._free += 1
            self._start()
