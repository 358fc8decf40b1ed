import asyncio
import threading
import time

import pytest

from distillery.errors import StageFailed, TransientError
from distillery.querying.wal import GroupCommit


class Log:
    """Remembers groups; `fail` raises for the given writes."""

    def __init__(self, fail=(), slow=0.0):
        self.groups, self.writes, self.seals = [], 0, 0
        self.fail, self.slow = dict(fail), slow
        self.threads = set()

    def write(self, records):
        self.writes += 1
        self.threads.add(threading.get_ident())
        time.sleep(self.slow)
        if self.writes in self.fail:
            raise self.fail[self.writes]
        self.groups.append(list(records))

    def due(self):
        return len(self.groups) >= 3

    def seal(self):
        self.seals += 1


def test_records_that_come_together_share_a_write():
    async def main():
        log = Log()
        async with GroupCommit(log, 0.05) as commit:
            await asyncio.gather(*(asyncio.shield(commit.append(b"%d" % n)) for n in range(100)))
        return log

    log = asyncio.run(main())
    assert sum(map(len, log.groups)) == 100
    assert log.writes <= 2


def test_leaving_makes_everything_durable_at_once():
    async def main():
        log = Log()
        started = time.monotonic()
        async with GroupCommit(log, 5.0, 60.0) as commit:
            commit.append(b"first")
            await asyncio.sleep(0.05)
            commit.append(b"lazy", lazy=True)
        return log, time.monotonic() - started

    log, seconds = asyncio.run(main())
    assert [record for group in log.groups for record in group] == [b"first", b"lazy"]
    assert seconds < 2


def test_a_lazy_record_becomes_durable_by_itself():
    async def main():
        log = Log()
        async with GroupCommit(log, 0.01, 0.05) as commit:
            await asyncio.wait_for(asyncio.shield(commit.append(b"lazy", lazy=True)), 2)
            return list(log.groups)

    assert asyncio.run(main()) == [[b"lazy"]]


def test_an_eager_record_takes_the_lazy_ones_along():
    async def main():
        log = Log()
        async with GroupCommit(log, 0.01, 60) as commit:
            commit.append(b"lazy", lazy=True)
            await asyncio.shield(commit.append(b"eager"))
            return list(log.groups)

    assert asyncio.run(main()) == [[b"lazy", b"eager"]]


def test_writes_are_at_least_an_interval_apart():
    async def main():
        log = Log()
        async with GroupCommit(log, 0.1) as commit:
            for _ in range(30):
                commit.append(b"x")
                await asyncio.sleep(0.01)
        return log

    assert asyncio.run(main()).writes <= 6


def test_a_passing_error_is_retried():
    async def main():
        log = Log(fail={1: TransientError("503")})
        async with GroupCommit(log, 0.01) as commit:
            await asyncio.shield(commit.append(b"x"))
        return log

    assert asyncio.run(main()).groups == [[b"x"]]


@pytest.mark.parametrize("error", [StageFailed("StoreUnusable", "disk full"), RuntimeError("bug")])
def test_a_lasting_error_reaches_whoever_waits_and_whoever_comes_later(error):
    async def main():
        log = Log(fail={1: error})
        commit = GroupCommit(log, 0.01)
        await commit.__aenter__()
        with pytest.raises(type(error)):
            await asyncio.shield(commit.append(b"x"))
        with pytest.raises(type(error)):
            commit.append(b"y")
        with pytest.raises(type(error)):
            await commit.__aexit__()

    asyncio.run(main())


def test_sealing_runs_beside_writing():
    async def main():
        log = Log()
        async with GroupCommit(log, 0.001) as commit:
            for _ in range(4):
                await asyncio.shield(commit.append(b"x"))
        return log

    assert asyncio.run(main()).seals >= 1


def test_a_cancelled_waiter_does_not_cancel_the_others():
    async def main():
        log = Log(slow=0.05)
        async with GroupCommit(log, 0.001) as commit:

            async def wait():
                await asyncio.shield(commit.append(b"x"))

            first, second = asyncio.create_task(wait()), asyncio.create_task(wait())
            await asyncio.sleep(0.01)
            first.cancel()
            await second
        return log

    assert asyncio.run(main()).groups == [[b"x", b"x"]]
