"""Near-duplicates go: of a pair across splits always the one less needed for the proof. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from distillery.stages.dataset.formats import Messages
from distillery.stages.dataset.pool import Ranked
from distillery.stages.dataset.similarity import Tick, TrigramSets, near_predecessors, trigram_sets
from distillery.stages.dataset.splits import PURITY, SplitName


def compared_text(messages: Messages) -> tuple[str, str]:
    """Return (realm, text) of a row for the comparison.

    The row's own system message is the realm: rows of different personas are different inputs, and a long
    common one must not make all rows look alike.
    """
    system = messages[0]["content"] if messages[0]["role"] == "system" else ""
    return system, "\n".join(message["content"] for message in messages if message["role"] != "system")


def sets_of(conversations: Sequence[Messages]) -> TrigramSets:
    """Return the trigram sets of rows."""
    return trigram_sets(compared_text(messages) for messages in conversations)


def drop_near(
    rows: Sequence[tuple[SplitName, Ranked]], threshold: float, tick: Tick | None = None
) -> list[tuple[SplitName, Ranked]]:
    """Return the rows without near-duplicates.

    Precedence is test, validation, train, and the rank within each. A row goes if *any* row of higher
    precedence is near it, even one that goes itself. So a new row can remove others but never bring one back
    (nothing is bought that was not added), and no pair remains, within or across splits.
    """
    ordered = sorted(rows, key=lambda item: (PURITY[item[0]], item[1].rank))
    sets = sets_of([ranked.row.messages for _, ranked in ordered])
    near = near_predecessors(sets, threshold, tick=tick)
    return [item for item, earlier in zip(ordered, near.tolist(), strict=True) if earlier < 0]
