"""Writes invented support tickets as JSONL: seeded, with known categories, and messy in the ways that real ones are.

The wordings lie in phrasings.toml. Six kinds of rows: plain, typo, mixed (a second, less urgent issue of another
category), foreign (scraps of other languages), short (a few words) and long (much beside the point).

Rows of a `rare` phrasing share a `group`, so that a split by group holds the whole phrasing in one split: the rare
rows of the test split are wordings that training has never seen. Every other row is a group of its own.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import tomllib
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

CATEGORIES = ("billing", "login", "shipping", "refund", "bug", "feature request", "cancellation")
ROWS = 6300
"""Tickets to write for about 6,000 that are no near-duplicates."""
KINDS = {"plain": 0.48, "typo": 0.15, "mixed": 0.11, "foreign": 0.09, "short": 0.1, "long": 0.07}
"""Share of each kind among the rows."""
RARE_SHARE = 0.1
"""Share of rare phrasings among the rows that are not short."""
RESENT_SHARE = 0.025
"""Share of tickets that arrive a second time with a different ending: near-duplicates for the dataset stage."""
SPECIFIC_SUBJECT_SHARE = 0.35

Row = dict[str, str | None]
_ALTERNATIVES = re.compile(r"\[([^\[\]]*)\]")
_SLOT = re.compile(r"\{(\w+)\}")
_NEIGHBOURS = {
    **dict(zip("qwertyuiop", "wertyuiopo", strict=True)),
    **dict(zip("asdfghjkl", "sdfghjklk", strict=True)),
    **dict(zip("zxcvbnm", "xcvbnmn", strict=True)),
}


@cache
def phrasings() -> dict[str, Any]:
    """Return the tables of phrasings.toml."""
    return tomllib.loads(Path(__file__).with_name("phrasings.toml").read_text(encoding="utf-8"))


def _numbers(rng: random.Random) -> dict[str, Callable[[], str]]:
    """Slots that are computed instead of picked from a list."""
    words = phrasings()["slots"]
    return {
        "order": lambda: f"{rng.choice('ABCDEHKMRT')}{rng.randint(10000, 99999)}",
        "amount": lambda: f"{rng.randint(12, 249)}.{rng.choice(('00', '50', '90', '99'))} EUR",
        "amount2": lambda: f"{rng.randint(5, 49)}.{rng.choice(('00', '50', '90', '99'))} EUR",
        "n": lambda: str(rng.randint(100000, 999999)),
        "n2": lambda: str(rng.randint(2, 12)),
        "n3": lambda: str(rng.randint(13, 99)),
        "n4": lambda: str(rng.randint(1000, 9999)),
        "months": lambda: str(rng.randint(3, 40)),
        "version": lambda: f"{rng.randint(2, 7)}.{rng.randint(0, 20)}.{rng.randint(0, 9)}",
        "email": lambda: f"{rng.choice(words['name']).lower()}{rng.randint(10, 9999)}@example.com",
    }


def _fill(template: str, rng: random.Random) -> str:
    """Pick alternatives and fill slots."""
    chosen = _ALTERNATIVES.sub(lambda match: rng.choice(match[1].split("|")), template)
    pick: dict[str, Callable[[], str]] = {
        name: partial(rng.choice, words) for name, words in phrasings()["slots"].items()
    }
    pick |= _numbers(rng)
    return _SLOT.sub(lambda match: pick[match[1]](), chosen)


def _misspell(text: str, rng: random.Random) -> str:
    """Return the text with one typing error in every six words or so."""
    words = text.split(" ")
    able = [at for at, word in enumerate(words) if len(word) > 3 and word.isalpha()]
    for at in rng.sample(able, min(len(able), max(2, len(words) // 6))):
        word = words[at]
        cut = rng.randrange(1, len(word) - 1)
        words[at] = rng.choice(
            (
                word[:cut] + word[cut + 1] + word[cut] + word[cut + 2 :],
                word[:cut] + word[cut + 1 :],
                word[:cut] + word[cut] + word[cut:],
                word[:cut] + _NEIGHBOURS.get(word[cut], word[cut]) + word[cut + 1 :],
            )
        )
    spoilt = " ".join(words)
    return spoilt.lower() if rng.random() < 0.5 else spoilt


def _sentences(kind: str, category: str, core: str, rng: random.Random) -> list[str]:
    """Return the sentences of a body around its core, in order."""
    tables = phrasings()
    neutral = tables["neutral"]
    if kind == "mixed":
        other = rng.choice([name for name in CATEGORIES if name != category])
        aside = rng.choice(tables["category"][other]["asides"])
        link = rng.choice(
            ("Less important:", "By the way,", "Not urgent, but", "Apart from that", "Besides,")
        )
        return [core, f"{link} {aside}."]
    if kind == "foreign":
        first, last = rng.sample(rng.choice(neutral["foreign"]), 2)
        return [first, core, last]
    if kind == "long":
        filler = rng.sample(neutral["filler"], rng.randint(3, 4))
        before = rng.randint(0, 2)
        return [*filler[:before], core, *filler[before:]]
    return [core]


def _row(number: int, kind: str, category: str, rng: random.Random) -> Row:
    """Return one ticket."""
    tables = phrasings()
    texts = tables["category"][category]
    neutral = tables["neutral"]
    wording = "short" if kind == "short" else "rare" if rng.random() < RARE_SHARE else "common"
    which = rng.randrange(len(texts[wording]))
    core = texts[wording][which]
    if kind == "short":
        parts = [core, rng.choice(("", "", "", "please", "asap", "thx", "help!", "???"))]
    else:
        around = (
            ("", "")
            if kind == "foreign"
            else (rng.choice(neutral["openers"]), rng.choice(neutral["closers"]))
        )
        parts = [around[0], *_sentences(kind, category, core, rng), around[1]]
    specific = kind != "short" and rng.random() < SPECIFIC_SUBJECT_SHARE
    subject = _fill(rng.choice(texts["subjects"] if specific else neutral["subjects"]), rng)
    body = _fill(" ".join(part for part in parts if part), rng)
    ticket, phrasing = f"T{number:05d}", f"{category.replace(' ', '-')}-{wording}-{which + 1:02d}"
    return {
        "ticket_id": ticket,
        "subject": subject,
        "body": _misspell(body, rng) if kind == "typo" else body,
        "category": category,
        "kind": kind,
        "wording": wording,
        "phrasing": phrasing,
        "group": phrasing if wording == "rare" else None,
    }


def generate(rows: int, seed: int) -> list[Row]:
    """Return `rows` tickets; equal arguments give equal rows."""
    rng = random.Random(f"tickets/{seed}")
    made: list[Row] = []
    for number in range(rows):
        if made and rng.random() < RESENT_SHARE:
            first = rng.choice(made)
            made.append(first | {"ticket_id": f"T{number:05d}", "body": f"{first['body']} Sent again."})
            continue
        kind = rng.choices(list(KINDS), weights=list(KINDS.values()))[0]
        made.append(_row(number, kind, rng.choice(CATEGORIES), rng))
    return made


def write(path: Path, rows: int, seed: int) -> None:
    """Write the tickets as JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(row, ensure_ascii=False) for row in generate(rows, seed)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path, help="JSONL file to write")
    parser.add_argument(
        "--rows", type=int, default=ROWS, help=f"tickets before de-duplication (default {ROWS})"
    )
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    write(options.path, options.rows, options.seed)


if __name__ == "__main__":
    main()
