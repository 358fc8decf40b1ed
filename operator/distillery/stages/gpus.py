"""GPUs as the spec counts them. Pure."""

from __future__ import annotations

from collections.abc import Mapping


def gpus_of_worker(resources: Mapping[str, str]) -> int:
    """Return the GPUs among the resources of one worker: every resource whose name ends in `/gpu`.

    Amounts that are no whole number do not pass validation and count as 0.
    """
    return sum(
        int(amount)
        for name, amount in resources.items()
        if name.rpartition("/")[2] == "gpu" and amount.isdecimal()
    )
