from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from distillery.api.v1alpha1 import filter as api
from distillery.api.v1alpha1.task import Output
from distillery.rules.filtering import Judged, build_rules
from distillery.stages.filter.candidates import Candidate, Decision, decide

LABEL = Output(format="label", labels=["billing", "login"])
RULES = build_rules(api.Filter().rules)


def _decision(
    row_id: str,
    text: str | None = "billing",
    split: str = "train",
    slices: tuple[str, ...] = (),
    failure: str | None = None,
    **answer: Any,
) -> Decision:
    row = {
        "row_id": row_id,
        "split": split,
        "group": None,
        "messages": [{"role": "user", "content": f"ticket {row_id}"}],
        "reference": None,
        "slices": list(slices),
        "copies": 1,
    }
    known = {"finish_reason": "stop", "refusal": None, "completion_tokens": 1, "output": LABEL, **answer}
    judged = Judged(row_id=row_id, split=split, text=text, **known)
    return decide(Candidate(row, judged, failure), RULES)


@pytest.fixture(scope="session")
def decision() -> Callable[..., Decision]:
    """Make a decision under the default rules; by default a kept `billing`."""
    return _decision
