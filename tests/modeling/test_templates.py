from __future__ import annotations

from typing import Any

import pytest

from distillery.errors import SpecError
from distillery.modeling.templates import Chat, merge_system
from distillery.modeling.tokenizer import train_tokenizer
from modeling.small import LABELS, TEXTS, ask, tiny_chat

REFUSES_SYSTEM = (
    "{% for m in messages %}"
    "{% if m['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "[{{ m['role'] }}]{{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}[model]{% endif %}"
)
DROPS_SYSTEM = (
    "{% for m in messages %}{% if m['role'] != 'system' %}[{{ m['role'] }}]{{ m['content'] }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}[model]{% endif %}"
)
ALTERNATES = (
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}[{{ m['role'] }}]{{ m['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}[model]{% endif %}"
)


def pretrained(template: str | None) -> Any:
    """A tokenizer such as a pretrained model brings, with a chat template of its own or none."""
    tokenizer = train_tokenizer(TEXTS, LABELS, 400)
    tokenizer.chat_template = template
    return tokenizer


def test_a_student_from_scratch_uses_the_built_in_template() -> None:
    chat = tiny_chat()
    rendered = chat.render(ask("hello", system="Route the ticket."))
    assert rendered == "<|system|>Route the ticket.<|end|><|user|>hello<|end|><|assistant|>"
    assert chat.end == chat.tokenizer.eos_token_id == 1


def test_a_template_that_refuses_system_gets_it_before_the_user_message() -> None:
    chat = Chat(pretrained(REFUSES_SYSTEM))
    assert chat.takes_system is False
    assert chat.render(ask("hello", system="Route.")) == "[user]Route.\n\nhello<|end|>[model]"
    assert chat.end == chat.tokenizer.convert_tokens_to_ids("<|end|>")


def test_a_template_that_drops_system_silently_is_found_out() -> None:
    chat = Chat(pretrained(DROPS_SYSTEM))
    assert chat.render(ask("hello", system="Route.")) == "[user]Route.\n\nhello[model]"


def test_a_tokenizer_without_a_template_gets_a_plain_one_that_is_saved_with_it() -> None:
    tokenizer = pretrained(None)
    chat = Chat(tokenizer)
    assert (
        chat.render(ask("hello", system="Route."))
        == "### System\nRoute.\n\n### User\nhello\n\n### Assistant\n"
    )
    assert tokenizer.chat_template is not None
    assert chat.end == tokenizer.eos_token_id


def test_the_end_is_what_the_template_puts_after_an_answer() -> None:
    tokenizer = pretrained("{% for m in messages %}{{ m['content'] }}<|user|>{% endfor %}")
    assert Chat(tokenizer).end == tokenizer.convert_tokens_to_ids("<|user|>")


def test_a_conversation_that_the_template_refuses_names_its_roles() -> None:
    chat = Chat(pretrained(ALTERNATES))
    with pytest.raises(SpecError, match="roles user, user: roles must alternate"):
        chat.render([*ask("one"), *ask("two")])


def test_a_tokenizer_without_any_end_token_is_refused() -> None:
    tokenizer = pretrained(None)
    tokenizer.eos_token = None
    with pytest.raises(SpecError, match="no end-of-sequence token"):
        Chat(tokenizer)


def test_an_answer_cannot_end_itself() -> None:
    chat = tiny_chat()
    ids = chat.answer("refund<|end|>login")
    assert chat.end not in ids
    assert chat.text([*ids, chat.end, 50]) == "refund<|end|>login"


def test_prompts_are_the_same_alone_and_together() -> None:
    chat = tiny_chat()
    conversations = [ask(text, system="Route the ticket.") for text in TEXTS]
    assert chat.prompts(conversations) == [chat.prompts([conversation])[0] for conversation in conversations]
    assert chat.prompts([]) == []


def test_labels_become_distinct_tokens() -> None:
    ids = tiny_chat().labels(LABELS)
    assert len({tuple(label) for label in ids}) == len(LABELS)
    assert [tiny_chat().text(label) for label in ids] == list(LABELS)


def test_labels_that_the_tokenizer_confuses_are_named() -> None:
    class Deaf(Chat):
        def answer(self, text: str) -> list[int]:
            return [] if text == "silence" else [len(text)]

    chat = Deaf(pretrained(None))
    with pytest.raises(SpecError) as caught:
        chat.labels(["one", "two", "silence"])
    assert [problem.path for problem in caught.value.problems] == ["spec.task.output.labels"] * 2
    assert str(caught.value).splitlines() == [
        "spec.task.output.labels: 'two' and 'one' are the same tokens to the student's tokenizer"
        " → spell them differently",
        "spec.task.output.labels: 'silence': the student's tokenizer has no tokens for it"
        " → spell it in letters that it knows",
    ]


def test_merging_system_keeps_the_other_messages() -> None:
    assistant = {"role": "assistant", "content": "yes?"}
    conversation = [*ask("hello", system="Route."), assistant, *ask("refund")]
    assert merge_system(conversation) == [*ask("Route.\n\nhello"), assistant, *ask("refund")]
    assert merge_system([{"role": "system", "content": "Route."}]) == ask("Route.")
    assert merge_system(ask("hello")) == ask("hello")
