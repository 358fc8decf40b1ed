from __future__ import annotations

import pytest

from distillery.rules.prompts import render

USER = {"role": "user", "content": "My card was charged twice."}

CASES = {
    "a task prompt comes before the row's messages": (
        "Route the ticket.",
        [USER],
        [{"role": "system", "content": "Route the ticket."}, USER],
    ),
    "without a task prompt the messages stay as they are": (None, [USER], [USER]),
    "a row's own system message joins the task's": (
        "Route the ticket.",
        [{"role": "system", "content": "Customer is German."}, USER],
        [{"role": "system", "content": "Route the ticket.\n\nCustomer is German."}, USER],
    ),
    "fields beside role and content are left out": (
        None,
        [{**USER, "name": "ada"}],
        [USER],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_render(case: str) -> None:
    system_prompt, messages, want = CASES[case]
    before = [dict(message) for message in messages]
    assert render(system_prompt, messages) == want
    assert messages == before
