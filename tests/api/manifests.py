"""A good manifest, and the table of bad ones: each an edit of the good one with the problems it must give."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent
GOOD = (FOLDER / "good.yaml").read_text()


@dataclass(frozen=True)
class BadManifest:
    """A sentence, the text of the manifest, and the lines of the error."""

    name: str
    text: str
    want: list[str]


def bad_manifests() -> list[BadManifest]:
    """Read bad_manifests.txt: `== sentence`, then lines taken out (-) and put in (+), then the error."""
    entries = (FOLDER / "bad_manifests.txt").read_text().removeprefix("== ").split("\n== ")
    return [_bad_manifest(entry.splitlines()) for entry in entries]


def _bad_manifest(lines: list[str]) -> BadManifest:
    name, *rest = lines
    text, want, out, put = GOOD, [], "", ""
    for line in [*rest, ""]:
        if put and not line.startswith("+"):
            text, out, put = replaced(text, out, put), "", ""
        match line[:1]:
            case "-":
                out += line[1:] + "\n"
            case "+":
                put += line[1:] + "\n"
            case "":
                continue
            case _:
                want.append(line)
    assert not out, name
    return BadManifest(name, text, want)


def replaced(text: str, old: str, new: str) -> str:
    """Replace the one occurrence of `old`."""
    assert text.count(old) == 1, f"{old!r} occurs {text.count(old)} times"
    return text.replace(old, new)
