from __future__ import annotations

import sys
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

import children
from distillery.modeling.templates import Chat
from distillery.modeling.tokenizer import SPECIAL_TOKENS, train_tokenizer
from modeling.small import LABELS, TEXTS, ask, tiny_chat

TRAIN = (
    "import sys; sys.path[:0] = {path!r}\n"
    "from distillery.modeling.tokenizer import train_tokenizer\n"
    "print(train_tokenizer({texts!r}, {labels!r}, 400).backend_tokenizer.to_str())"
)


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(exclude_categories=("Cs",)), max_size=60))
def test_every_text_can_be_encoded_and_decoded(text: str) -> None:
    tokenizer = tiny_chat().tokenizer
    ids = tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text
    assert tiny_chat().end not in ids


def test_special_tokens_come_first_and_the_vocabulary_stays_within_its_size() -> None:
    tokenizer = train_tokenizer(TEXTS * 4, LABELS, 300)
    assert tokenizer.convert_ids_to_tokens(list(range(5))) == list(SPECIAL_TOKENS)
    assert len(tokenizer) <= 300


def test_labels_get_short_tokens_even_where_the_rows_lack_them() -> None:
    tokenizer = train_tokenizer(["something else"] * 100, ["zebra", "quagga herd"], 400)
    assert [len(Chat(tokenizer).answer(label)) for label in ("zebra", "quagga herd")] == [1, 2]


def test_the_same_texts_give_the_same_tokenizer_in_every_process() -> None:
    code = TRAIN.format(path=[entry for entry in sys.path if entry], texts=TEXTS * 4, labels=list(LABELS))
    there = children.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    here = [train_tokenizer(TEXTS * 4, LABELS, 400).backend_tokenizer.to_str() for _ in range(2)]
    assert here == [there.strip()] * 2


def test_the_chat_template_is_saved_with_the_tokenizer(tmp_path: Path) -> None:
    chat = tiny_chat()
    chat.tokenizer.save_pretrained(tmp_path)
    loaded = Chat(AutoTokenizer.from_pretrained(tmp_path))
    conversation = ask("my password is rejected", system="Route the ticket.")
    assert loaded.prompts([conversation]) == chat.prompts([conversation])
    assert (loaded.end, loaded.pad) == (chat.end, chat.pad)
