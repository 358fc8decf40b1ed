"""Leader election on a simulated clock; the real API server's part is in e2e/apiserver."""

import asyncio

import pytest

from controller.leases import Clock, Leases
from distillery.controller.election import DEADLINE_SECONDS, LEASE_SECONDS, Election, LeaseLost


class Candidate:
    """A process that wants to lead: waits for the Lease, then holds it until it is lost."""

    def __init__(self, leases, clock, name, skew=0.0):
        self.election = Election(leases, "ns", "distillery", name, clock.timing(skew))
        self.clock = clock
        self.leading = False
        self.lost = None
        self.task = asyncio.create_task(self._live())

    async def _live(self):
        await self.election.acquire()
        self.leading = True
        try:
            await self.election.hold()
        except LeaseLost as error:
            self.lost = str(error)
        finally:
            self.leading = False

    async def killed(self):
        """The process is gone without a word."""
        self.task.cancel()
        await asyncio.wait({self.task})


def test_one_leads_and_keeps_leading_and_the_other_follows_within_the_leases_time_when_it_is_killed():
    async def scene():
        leases, clock = Leases(), Clock()
        first = Candidate(leases, clock, "first")
        await clock.run(1)
        second = Candidate(leases, clock, "second", skew=-3600)
        await clock.run(300)
        assert (first.leading, second.leading) == (True, False)
        assert leases.lease["spec"]["holderIdentity"] == "first"
        await first.killed()
        await clock.run(300 + LEASE_SECONDS + 5)
        assert second.leading
        assert leases.lease["spec"]["leaseTransitions"] == 1
        await second.killed()

    asyncio.run(scene())


def test_a_leader_that_cannot_renew_stops_before_anyone_may_follow():
    async def scene():
        leases, clock = Leases(), Clock()
        first = Candidate(leases, clock, "first")
        await clock.run(7)
        renewed = first.election.age()
        leases.away = True
        await clock.run(7 + DEADLINE_SECONDS - renewed + 1)
        assert not first.leading
        assert first.lost == "the Lease could not be renewed in time"
        assert DEADLINE_SECONDS + 1 < LEASE_SECONDS

    asyncio.run(scene())


def test_a_short_absence_of_the_server_is_survived():
    async def scene():
        leases, clock = Leases(), Clock()
        first = Candidate(leases, clock, "first")
        await clock.run(6)
        leases.away = True
        await clock.run(6 + DEADLINE_SECONDS / 2)
        leases.away = False
        await clock.run(60)
        assert first.leading
        await first.killed()

    asyncio.run(scene())


def test_a_lease_that_was_taken_is_lost_at_the_next_renewal():
    async def scene():
        leases, clock = Leases(), Clock()
        first = Candidate(leases, clock, "first")
        await clock.run(1)
        await leases.replace(
            None, {**leases.lease, "spec": {**leases.lease["spec"], "holderIdentity": "thief"}}
        )
        await clock.run(7)
        assert first.lost == "the Lease was taken by thief"

    asyncio.run(scene())


def test_a_lease_that_was_given_back_is_taken_at_once():
    async def scene():
        leases, clock = Leases(), Clock()
        first, second = Candidate(leases, clock, "first"), None
        await clock.run(1)
        second = Candidate(leases, clock, "second")
        await clock.run(10)
        await first.killed()
        await first.election.release()
        assert leases.lease["spec"]["holderIdentity"] == ""
        await clock.run(13)
        assert second.leading
        await first.election.release()
        assert leases.lease["spec"]["holderIdentity"] == "second"
        await second.killed()

    asyncio.run(scene())


@pytest.mark.parametrize("count", [2, 5])
def test_of_candidates_that_come_at_once_exactly_one_leads(count):
    async def scene():
        leases, clock = Leases(), Clock()
        candidates = [Candidate(leases, clock, f"c{number}") for number in range(count)]
        for moment in range(1, 100, 3):
            await clock.run(moment)
            assert sum(candidate.leading for candidate in candidates) == 1
        for candidate in candidates:
            await candidate.killed()

    asyncio.run(scene())
