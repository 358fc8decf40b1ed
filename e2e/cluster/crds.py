"""Install kinds: apply their definitions and wait until the API server names them in its discovery.

`kubectl apply` finds a kind by discovery, which follows some time after the definition is Established; `kubectl wait`
for that condition fails while a definition has no conditions at all.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

SECONDS = 60.0


def install(kubectl: Callable[..., str], *paths: Path) -> None:
    """Apply definitions with `kubectl`, which runs one command as administrator and returns its output.

    Raises:
        Exception: whatever `kubectl` raises, when a kind is not known after a minute.
    """
    files = [word for path in paths for word in ("-f", str(path))]
    names = kubectl("apply", "--server-side", "--force-conflicts", "-o", "name", *files).split()
    ends = time.monotonic() + SECONDS
    for name in names:
        _wait_for_discovery(kubectl, name.partition("/")[2], ends)


def _wait_for_discovery(kubectl: Callable[..., str], resource: str, ends: float) -> None:
    while True:
        try:
            kubectl("get", resource, "--all-namespaces", "-o", "name")
            return
        except Exception:
            if time.monotonic() > ends:
                raise
        time.sleep(0.2)
