"""The budget: nothing is sent unless the most it can cost still fits beside what is spent, reserved, set aside.

Pure bookkeeping in picos. The limit belongs to the object, so `spent` starts at what all earlier attempts
cost.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class BudgetAccount:
    """Spent, unknown and reserved amounts against a limit (None: no limit)."""

    limit: int | None
    spent: int = 0
    """Known spend and the reserved maximum of calls whose outcome is lost."""
    reserved: int = 0
    set_aside: int = 0
    """Kept for a later stage."""
    overrun: int = 0
    """The most by which a bill has exceeded its call's own bound; later reservations are raised by as much."""

    def reserve(self, amount: int) -> int | None:
        """Reserve for one call and return what was reserved, or None if it does not fit."""
        amount += self.overrun
        if self.limit is not None and self.spent + self.reserved + self.set_aside + amount > self.limit:
            return None
        self.reserved += amount
        return amount

    def settle(self, reserved: int, paid: int, bound: int | None = None) -> bool:
        """Replace a reservation by what was paid; returns whether the bill exceeded the reservation.

        `bound` is what was asked to be reserved, where the reservation was raised above it. Many calls that were
        under way together overrun by the same amount, so their excesses do not add up.
        """
        self.reserved -= reserved
        self.spent += paid
        self.overrun = max(self.overrun, paid - (reserved if bound is None else bound))
        return paid > reserved
