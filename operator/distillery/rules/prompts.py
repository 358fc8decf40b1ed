"""The one place where the prompt of teacher, student and serving is made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

Message = dict[str, str]

SYSTEM = "system"


def render(system_prompt: str | None, messages: Iterable[Mapping[str, str]]) -> list[Message]:
    """Return a row's messages with the task's system prompt before them.

    A system message that the row itself begins with is appended to the task's, after an empty line: most chat
    templates refuse a second one. The given messages are not changed; only role and content are taken over.
    """
    rendered = [{"role": message["role"], "content": message["content"]} for message in messages]
    if not system_prompt:
        return rendered
    if rendered and rendered[0]["role"] == SYSTEM:
        own = rendered.pop(0)["content"]
        system_prompt = f"{system_prompt}\n\n{own}"
    return [{"role": SYSTEM, "content": system_prompt}, *rendered]
