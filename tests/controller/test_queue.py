import asyncio

import pytest

from distillery.controller.queue import WorkQueue
from distillery.errors import TransientError


def run(scene, **options):
    """Run a scene with a queue whose worker is `scene.handle`; the clock is simulated where one is given."""
    outcomes = []

    async def main():
        queue = WorkQueue(scene.handle, on_done=outcomes.append, **options)
        scene.queue = queue
        async with asyncio.timeout(60):
            scene.begin(queue)
            await queue.run()

    asyncio.run(main())
    return outcomes


class Counting:
    """Calls are kept; the queue is closed after `last` of them."""

    def __init__(self, last, *keys):
        self.last = last
        self.keys = keys
        self.calls = []
        self.now = {}
        self.most = 0

    def begin(self, queue):
        for key in self.keys:
            queue.add(key)

    async def handle(self, key):
        assert key not in self.now, "two workers on one key"
        self.now[key] = True
        self.most = max(self.most, len(self.now))
        self.calls.append(key)
        try:
            return await self.work(key)
        finally:
            del self.now[key]
            if len(self.calls) >= self.last:
                self.queue.close()

    async def work(self, key):
        await asyncio.sleep(0)
        return None


def test_every_key_is_worked_on_by_as_many_workers_as_there_are():
    scene = Counting(20, *range(20))
    assert run(scene, workers=3) == ["done"] * 20
    assert sorted(scene.calls) == list(range(20))
    assert scene.most == 3


def test_an_event_during_work_means_one_more_look_however_many_events():
    class Scene(Counting):
        async def work(self, key):
            if len(self.calls) == 1:
                for _ in range(5):
                    self.queue.add(key)
                    await asyncio.sleep(0)
            return None

    scene = Scene(2, "a")
    run(scene)
    assert scene.calls == ["a", "a"]


def test_a_wish_is_heard_and_an_error_is_repeated(monkeypatch):
    monkeypatch.setattr("distillery.controller.schedule.FIRST_PAUSE", 0.001)

    class Scene(Counting):
        async def work(self, key):
            match len(self.calls):
                case 1:
                    return 0.001
                case 2:
                    raise TransientError("for now")
                case 3:
                    raise RuntimeError("a bug")
                case _:
                    return None

    scene = Scene(4, "a")
    assert run(scene) == ["later", "error", "bug", "done"]


def test_a_bug_is_logged_with_its_traceback_and_trouble_without(monkeypatch, caplog):
    monkeypatch.setattr("distillery.controller.schedule.FIRST_PAUSE", 0.001)

    class Scene(Counting):
        async def work(self, key):
            if key == "trouble":
                raise TransientError("the server is away")
            raise RuntimeError("a bug")

    run(Scene(2, "trouble", "bug"), workers=1)
    said = [
        (record.levelname, record.getMessage().split(";")[0], bool(record.exc_info))
        for record in caplog.records
    ]
    assert said[:2] == [("WARNING", "the server is away", False), ("ERROR", "a bug", True)]


def test_work_without_an_end_is_cut_off_and_repeated(monkeypatch):
    monkeypatch.setattr("distillery.controller.queue.LONGEST_WORK", 0.01)

    class Scene(Counting):
        async def work(self, key):
            await asyncio.sleep(3600)

    assert run(Scene(1, "a")) == ["error"]


def test_closing_waits_for_what_is_being_worked_on_and_begins_nothing_more():
    class Scene(Counting):
        async def work(self, key):
            self.queue.close()
            await asyncio.sleep(0.01)
            return None

    scene = Scene(99, "a", "b", "c")
    assert run(scene, workers=1) == ["done"]
    assert scene.calls == ["a"]


def test_a_key_that_wishes_for_nothing_is_looked_at_again_slowly():
    now = [0.0]

    async def main():
        async def handle(_key):
            return None

        queue = WorkQueue(handle, resync=1000.0, clock=lambda: now[0])
        queue.add("a")
        working = asyncio.create_task(queue.run())
        while queue.depth() or queue.longest_work() or queue._schedule.next_due() is None:
            await asyncio.sleep(0)
        due = queue._schedule.next_due()
        queue.close()
        await working
        return due

    assert 750.0 <= asyncio.run(main()) <= 1250.0


@pytest.mark.parametrize("known", [True, False])
def test_ensure_adds_only_what_is_not_known(known):
    async def main():
        async def handle(_key):
            return None

        queue = WorkQueue(handle, clock=lambda: 5.0)
        if known:
            queue.add_after("a", 100.0)
        queue.ensure(["a"])
        assert queue.idle() == 0.0
        assert queue.oldest_age() == 0.0
        return queue.depth()

    assert asyncio.run(main()) == (0 if known else 1)
