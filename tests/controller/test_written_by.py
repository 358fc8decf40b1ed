"""What an earlier release wrote is read by this one: what has ended stays ended, and what runs goes on."""

from __future__ import annotations

import asyncio

import pytest

from controller_world import World
from written_worlds import world_as_written, written_lives

ENDED = written_lives("complete", "gates", "failed", "stopped")


async def rest(world: World) -> None:
    """Let days pass over several operators, none of which knows what the one before knew."""
    for _ in range(3):
        world.start_operator()
        for seconds in (1.0, 100.0, 10.0, 3600.0):
            await world.turn(seconds)


@pytest.mark.parametrize(
    "life", [life for life in ENDED if not life.endswith(("winding-down", "ttl-running"))]
)
def test_what_has_ended_stays_as_it_is(life: str) -> None:
    world = world_as_written(life)
    before = asyncio.run(world.status())
    asyncio.run(rest(world))
    assert asyncio.run(world.status()) == before
    assert world.api.writes == []
