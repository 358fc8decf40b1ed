"""What stands in a ledger: its entries, and the state of one writer that they add up to. Pure; amounts in picos."""

from __future__ import annotations

from typing import Literal

import msgspec

LEDGER_VERSION = 1


class Tally(msgspec.Struct, omit_defaults=True):
    """Sums over calls. `unknown` bounds what calls with a lost outcome may have cost, beside `spent`."""

    spent: int = 0
    unknown: int = 0
    calls: int = 0
    """Calls that were billed, or may have been."""
    prompt: int = 0
    cached: int = 0
    completion: int = 0

    def add(self, entry: Settled) -> None:
        """Count one settled call."""
        self.spent += entry.spent
        self.unknown += entry.unknown
        self.calls += entry.outcome != "unpaid"
        self.prompt += entry.prompt
        self.cached += entry.cached
        self.completion += entry.completion

    def merge(self, other: Tally) -> None:
        """Add the sums of another tally."""
        self.spent += other.spent
        self.unknown += other.unknown
        self.calls += other.calls
        self.prompt += other.prompt
        self.cached += other.cached
        self.completion += other.completion


class Opened(msgspec.Struct, frozen=True, tag="opened", tag_field="entry"):
    """First entry of an engine. `prices` are picos per prompt, cached prompt and completion token."""

    stage: str
    attempt: int
    teacher: str
    """Digest under which its answers are cached: an answer there settles a call whose outcome is lost."""
    prices: tuple[int, int, int]
    currency: str
    version: int = LEDGER_VERSION


class Intent(msgspec.Struct, frozen=True, tag="intent", tag_field="entry"):
    """Written before a call is sent: it will cost `reserved` at most."""

    call: str
    reserved: int


class Settled(msgspec.Struct, frozen=True, tag="settled", tag_field="entry", omit_defaults=True):
    """Written after a call: what it cost, nothing, or nobody knows (then `unknown` is what was reserved)."""

    call: str
    outcome: Literal["paid", "unpaid", "unknown"]
    spent: int = 0
    unknown: int = 0
    prompt: int = 0
    cached: int = 0
    completion: int = 0


Entry = Opened | Intent | Settled


class WriterState(msgspec.Struct, tag="state", tag_field="entry", omit_defaults=True):
    """What the entries of one engine add up to, up to object `through`."""

    version: int = LEDGER_VERSION
    through: int = -1
    opened: Opened | None = None
    tally: Tally = msgspec.field(default_factory=Tally)
    open: dict[str, int] = msgspec.field(default_factory=dict)
    """Calls without an outcome yet, and what they may cost."""
    foreign: dict[str, Settled] = msgspec.field(default_factory=dict)
    """Outcomes of calls of other engines, found after those had died."""

    def apply(self, entry: Entry) -> None:
        """Count one entry."""
        match entry:
            case Opened():
                self.opened = entry
            case Intent():
                self.open[entry.call] = entry.reserved
            case Settled() if self.open.pop(entry.call, None) is not None:
                self.tally.add(entry)
            case Settled():
                self.foreign[entry.call] = entry
