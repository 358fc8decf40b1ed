"""What the three row formats mean: a raw row → its messages and the answer it may bring. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from distillery.api.v1alpha1.dataset import SourceFormat
from distillery.errors import Problem, SpecError
from distillery.stages.dataset.columns import Record, names
from distillery.stages.dataset.problems import RowError, did_you_mean, listing
from distillery.stages.dataset.templates import FIELD, Template

Messages = list[dict[str, str]]

ROLES = ("system", "user", "assistant")


@dataclass(frozen=True, slots=True)
class Conversation:
    """What production sends, without the task's system prompt, and the answer that came with it."""

    messages: Messages
    answer: str | None = None


Reader = Callable[[Record], Conversation]


def reader_of(format: SourceFormat, template: str | None, system_prompt: str | None) -> Reader:
    """Return the function that reads rows of a format.

    Raises: SpecError if plain rows lack a valid template.
    """
    if format == "plain":
        if template is None:
            message = "plain rows need a template for the user message"
            raise SpecError(Problem(FIELD, message, "write the columns to insert, for example {text}"))
        return _plain(Template.parse(template))
    if format == "chat":
        return lambda record: _conversation(_message_list(record), system_prompt)
    return lambda record: _prompt_completion(record, system_prompt)


def _plain(template: Template) -> Reader:
    def read(record: Record) -> Conversation:
        text = template.render(record)
        if not text.strip():
            message = f"{listing(template.columns)} {'is' if len(template.columns) == 1 else 'are'} empty"
            raise RowError("an empty input", f"the input is empty: {message}", "fill or remove the row")
        return Conversation([{"role": "user", "content": text}])

    return read


def _message_list(record: Record) -> Any:
    if "messages" in record:
        return record["messages"]
    known = listing(names(record)) or "no columns"
    message = "no `messages`, which chat rows have"
    if "prompt" in record:
        raise RowError("no `messages`", message, "it has `prompt`: set format: prompt-completion")
    if "conversations" in record:
        raise RowError("no `messages`", message, "ShareGPT's `conversations` must be converted to `messages`")
    repair = f"{did_you_mean('messages', names(record))}the row has: {known}; for such rows set format: plain"
    raise RowError("no `messages`", message, repair)


def _prompt_completion(record: Record, system_prompt: str | None) -> Conversation:
    """Read a row as TRL does: `prompt` and the optional `completion` are texts, or lists of messages."""
    if "prompt" not in record:
        known = listing(names(record)) or "no columns"
        repair = f"{did_you_mean('prompt', names(record))}the row has: {known}"
        if isinstance(record.get("messages"), list):
            repair = "it has `messages`: set format: chat"
        raise RowError("no `prompt`", "no `prompt`, which prompt-completion rows have", repair)
    prompt, completion = record["prompt"], record.get("completion")
    return _conversation(
        [*_as_messages(prompt, "user"), *_as_messages(completion, "assistant")], system_prompt
    )


def _as_messages(value: Any, role: str) -> list[Any]:
    if value is None and role == "assistant":
        return []
    if isinstance(value, str):
        return [{"role": role, "content": value}]
    if isinstance(value, list):
        return value
    column = "prompt" if role == "user" else "completion"
    raise RowError(f"a wrong `{column}`", f"`{column}` is neither text nor a list of messages")


def _conversation(value: Any, system_prompt: str | None) -> Conversation:
    """Check messages and split off a final answer of the assistant.

    Raises: RowError for roles and contents we do not know, a misplaced system message, no user message at the
    end.
    """
    if not isinstance(value, list) or not value:
        message = f"`messages` is {'empty' if value == [] else 'not a list'}"
        raise RowError("wrong messages", message, 'write [{"role": "user", "content": "…"}]')
    messages = [_message(index, item) for index, item in enumerate(value)]
    answer = messages.pop()["content"] if messages[-1]["role"] == "assistant" else None
    messages = _without_system_prompt(messages, system_prompt)
    if not messages or messages[-1]["role"] != "user":
        message = "no user message before the answer" if answer is not None else "no user message at the end"
        raise RowError("no user message", message, "the last message but an answer is the user's")
    if not messages[-1]["content"].strip():
        raise RowError("an empty input", "the last user message is empty", "fill or remove the row")
    return Conversation(messages, answer if answer and answer.strip() else None)


def _message(index: int, item: Any) -> dict[str, str]:
    where = f"message {index + 1}"
    if not isinstance(item, dict) or "role" not in item or "content" not in item:
        message = f"{where} lacks role or content"
        raise RowError("wrong messages", message, 'write {"role": "user", "content": "…"}')
    role, content = item["role"], item["content"]
    if role not in ROLES:
        meant = {"developer": "system", "human": "user", "gpt": "assistant", "bot": "assistant"}.get(
            str(role)
        )
        repair = f"did you mean {meant!r}? " if meant else ""
        raise RowError("an unknown role", f"{where} has role {role!r}", f"{repair}roles: {listing(ROLES)}")
    if role == "system" and index > 0:
        raise RowError("wrong messages", f"{where} is a system message", "it can only be the first")
    if item.get("tool_calls") or item.get("function_call"):
        raise RowError("tool calls", f"{where} calls a tool", "only text conversations can be distilled")
    if not isinstance(content, str):
        kind = "null" if content is None else "a list of parts" if isinstance(content, list) else "no text"
        raise RowError("wrong messages", f"the content of {where} is {kind}", "write the content as one text")
    return {"role": role, "content": content}


def _without_system_prompt(messages: Messages, system_prompt: str | None) -> Messages:
    """Drop a system message that repeats the task's; rendering adds it. Raises: RowError if they differ."""
    if system_prompt is None or not messages or messages[0]["role"] != "system":
        return messages
    if messages[0]["content"].strip() == system_prompt.strip():
        return messages[1:]
    message = (
        f"the row's system message ({_short(messages[0]['content'])}) differs from spec.task.systemPrompt"
    )
    repair = "keep one of them: remove spec.task.systemPrompt, or the rows' own system messages"
    raise RowError("a system message of their own", message, repair)


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "…")
