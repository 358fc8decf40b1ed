"""How values appear in messages: shortened, and never one that may be secret. Pure."""

from __future__ import annotations

import json
import re
from typing import Any

from distillery.api.paths import Path

MAX_SHOWN = 60
HIDDEN = "the value (not shown)"

_SENSITIVE = ("secret", "password", "apikey", "credential", "authorization")
# Beginnings of keys that providers hand out, and of JSON web tokens.
_KEY = re.compile(r"\b(sk-|gsk_|hf_|xai-|AIza|AKIA|eyJ)[A-Za-z0-9_.-]{12,}")
_URL_WITH_USER = re.compile(r"://[^/@\s]*@")


def looks_secret(text: str) -> bool:
    """Return whether a text looks like an API key, or like an address with a password."""
    return _KEY.search(text) is not None or _URL_WITH_USER.search(text) is not None


def masked(text: str) -> str:
    """Return a text with everything in it that looks secret replaced."""
    return _KEY.sub("…", _URL_WITH_USER.sub("://…@", text))


def shown(value: Any, path: Path = ()) -> str:
    """Return a value for a message. `path` tells fields that hold secrets by their names."""
    if any(word in str(step).lower() for step in path for word in _SENSITIVE):
        return HIDDEN
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    if not isinstance(value, str):
        return json.dumps(value)
    if looks_secret(value):
        return HIDDEN
    return repr(value if len(value) <= MAX_SHOWN else value[: MAX_SHOWN - 1] + "…")
