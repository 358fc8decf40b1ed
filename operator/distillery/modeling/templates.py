"""From a conversation to prompt tokens, from an answer to its tokens: one rendering for every use.

A tokenizer's own chat template is used. One that refuses or drops the system role gets the system prompt put
before the first user message; a tokenizer without a template gets a plain one. The end of an answer is the
token that the template itself puts after an assistant's turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from distillery.errors import Problem, SpecError

Message = dict[str, str]
Conversation = Sequence[Message]

# Line ends stand in expressions, since the renderer drops those that follow a block.
PLAIN_TEMPLATE = (
    "{% for message in messages %}{{ '### ' + (message['role'] | capitalize) + '\n' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\n\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '### Assistant\n' }}{% endif %}"
)
_PROBE_SYSTEM, _PROBE_USER, _PROBE_ANSWER = "Distill 17.", "Probe 23.", "Reply 42."


class Chat:
    """A tokenizer together with how it renders a conversation.

    `end` is the token id that closes an answer, `pad` one that may fill a batch.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Try the template out. Raises: SpecError if it renders no user message or has no end token."""
        self.tokenizer = tokenizer
        if not tokenizer.chat_template:
            tokenizer.chat_template = PLAIN_TEMPLATE
        self.takes_system = _takes_system(tokenizer)
        self.end = _end_token(tokenizer)
        pad = tokenizer.pad_token_id
        self.pad: int = self.end if pad is None else int(pad)

    def render(self, conversation: Conversation) -> str:
        """Return the prompt as text, up to where the answer begins.

        Raises: SpecError if the template refuses the conversation (such as two user messages in a row).
        """
        messages = list(conversation) if self.takes_system else merge_system(conversation)
        try:
            return _apply(self.tokenizer, messages)
        except TemplateError as error:
            roles = ", ".join(message["role"] for message in messages)
            problem = f"the chat template refuses a conversation of roles {roles}: {error}"
            raise SpecError(
                Problem("spec.student.base", problem, "use a model whose template takes it")
            ) from None

    def prompts(self, conversations: Sequence[Conversation]) -> list[list[int]]:
        """Return the prompt tokens of each conversation."""
        if not conversations:
            return []
        texts = [self.render(conversation) for conversation in conversations]
        ids: list[list[int]] = self.tokenizer(texts, add_special_tokens=False)["input_ids"]
        return ids

    def answer(self, text: str) -> list[int]:
        """Return the tokens of an answer without the end token.

        What looks like a special token in it is encoded as plain text: an answer cannot end itself.
        """
        ids: list[int] = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)[
            "input_ids"
        ]
        return ids

    def labels(self, labels: Sequence[str]) -> list[list[int]]:
        """Return the tokens of each label without the end token.

        Raises: SpecError for labels that have no tokens, unknown ones, or the same tokens as another label.
        """
        known: dict[tuple[int, ...], str] = {}
        problems = []
        unknown = self.tokenizer.unk_token_id
        for label in labels:
            ids = tuple(self.answer(label))
            if not ids or self.end in ids or (unknown is not None and unknown in ids):
                problem, repair = (
                    "the student's tokenizer has no tokens for it",
                    "spell it in letters that it knows",
                )
                problems.append(Problem("spec.task.output.labels", f"{label!r}: {problem}", repair))
            elif ids in known:
                problem = f"{label!r} and {known[ids]!r} are the same tokens to the student's tokenizer"
                problems.append(Problem("spec.task.output.labels", problem, "spell them differently"))
            known.setdefault(ids, label)
        if problems:
            raise SpecError(*problems)
        return [list(ids) for ids in known]

    def text(self, ids: Sequence[int]) -> str:
        """Return the text of answer tokens, up to the end token if there is one."""
        kept = list(ids)
        if self.end in kept:
            kept = kept[: kept.index(self.end)]
        return str(self.tokenizer.decode(kept, skip_special_tokens=True)).strip()


def merge_system(conversation: Conversation) -> list[Message]:
    """Return the conversation with its system message put before the first user message."""
    system = [message["content"] for message in conversation if message["role"] == "system"]
    rest = [dict(message) for message in conversation if message["role"] != "system"]
    if not system:
        return rest
    prefix = "\n\n".join(system)
    for message in rest:
        if message["role"] == "user":
            message["content"] = f"{prefix}\n\n{message['content']}"
            return rest
    return [{"role": "user", "content": prefix}, *rest]


def _apply(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], prompt: bool = True) -> str:
    rendered: Any = tokenizer.apply_chat_template(
        list(messages), add_generation_prompt=prompt, tokenize=False
    )
    return str(rendered)


def _takes_system(tokenizer: PreTrainedTokenizerBase) -> bool:
    messages = [{"role": "system", "content": _PROBE_SYSTEM}, {"role": "user", "content": _PROBE_USER}]
    try:
        rendered = _apply(tokenizer, messages)
    except TemplateError:
        return False
    return _PROBE_SYSTEM in rendered


def _end_token(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the first special token after an assistant's turn, else the tokenizer's end of sequence."""
    user = {"role": "user", "content": _PROBE_USER}
    try:
        turn = _apply(tokenizer, [user, {"role": "assistant", "content": _PROBE_ANSWER}], prompt=False)
    except TemplateError as error:
        problem = f"the chat template cannot render a user message and its answer: {error}"
        raise SpecError(
            Problem("spec.student.base", problem, "use a model with a conversation template")
        ) from None
    tail: list[int] = tokenizer(turn.rpartition(_PROBE_ANSWER)[2], add_special_tokens=False)["input_ids"]
    if tail and tail[0] in tokenizer.all_special_ids:
        return tail[0]
    if tokenizer.eos_token_id is None:
        repair = "set eos_token in its tokenizer_config.json"
        raise SpecError(Problem("spec.student.base", "the tokenizer has no end-of-sequence token", repair))
    return int(tokenizer.eos_token_id)
