"""Plain sentences for what a YAML parser says about text that is not YAML. Pure."""

from __future__ import annotations

import re
from typing import Any

from distillery.errors import Problem, SpecError

_TAB = "found character '\\t' that cannot start any token"
_PLAIN_REPAIR = "check quotes, brackets and indentation nearby"
# The first pattern that is found in the parser's words decides; {0} and {1} are its groups.
_SENTENCES: tuple[tuple[str, str, str], ...] = (
    (re.escape(_TAB), "a tab stands where only spaces may", "indent with spaces"),
    (
        r"mapping values are not allowed",
        "a ':' stands where no field can begin",
        "put a value that contains ': ' in quotes, or check the indentation",
    ),
    (
        r"found character '(.)' that cannot start any token",
        "a value cannot begin with {0!r}",
        "put the value in quotes",
    ),
    (
        r"sequence entries are not allowed",
        "a list begins where a value stands",
        "put each `- item` on a line of its own",
    ),
    (r"found unexpected end of stream", "the quoted text never ends", "close the quotes"),
    (
        r"expected ',' or '(.)'",
        "a ',' or {0!r} is missing",
        "close the bracket, or put a comma between the values",
    ),
    (r"could not find expected ':'", "a ':' is missing", "write `field: value`"),
    (
        r"expected <block end>, but found '([\]}])'",
        "a {0!r} closes nothing",
        "remove it, or put the value in quotes",
    ),
    (
        r"expected <block end>, but found",
        "this line does not belong where it stands",
        "indent it as its neighbours are",
    ),
    (r"but found '<stream end>'", "the file ends in the middle of a value", "close what is open"),
    (r"expected .*escape sequence of", "an escape in double quotes is not complete", "double the backslash"),
    (r"found unknown escape character", "an escape in double quotes is unknown", "double the backslash"),
    (r"expected '<document start>'", "text follows after the end of the object", "remove it, or indent it"),
    (r"found duplicate anchor", "an anchor is defined twice", "give it another name"),
    (r"found a long tag", "a tag is not allowed here", "remove the tag, or put the value in quotes"),
    (r"undefined tag handle", "a tag is not allowed here", "remove the tag"),
    (r"incompatible YAML document", "the version in %YAML is not 1.x", "remove the line"),
)


def syntax_problem(error: Any, file: str) -> SpecError:
    """Return the error to raise for a MarkedYAMLError of the library: place, what is wrong, repair."""
    said = " ".join(str(error.problem or error.context or "").split())
    message, repair = f"this is not YAML: {said}", _PLAIN_REPAIR
    for pattern, sentence, advice in _SENTENCES:
        if match := re.search(pattern, str(error.problem)):
            message, repair = sentence.format(*match.groups()), advice
            break
    mark, context = error.problem_mark or error.context_mark, error.context_mark
    if mark is None:
        return SpecError(Problem(file, message, repair))
    if context is not None and context.line != mark.line:
        message += f" (what it belongs to begins in line {context.line + 1})"
    return SpecError(Problem(f"{file}:{mark.line + 1}:{mark.column + 1}", message, repair))
