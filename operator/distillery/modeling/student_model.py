"""A finished student in use: label scores and free generation, as evaluation and serving need them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from distillery.modeling.base import WEIGHTS, Student, max_length_of, quiet
from distillery.modeling.packing import takes_tree_mask
from distillery.modeling.scoring import LabelScorer
from distillery.modeling.templates import Chat, Conversation

BATCH_TOKENS = 8192
"""Prompts and answers of one batch: the keys and values of a model of 0.6 billion weights take about 2 GB for them."""


class StudentModel:
    """A student on the CPU in float32, loaded from a model folder; one thread at a time may use it."""

    def __init__(self, student: Student, size_bytes: int) -> None:
        self._model = student.model.eval()
        self._chat = student.chat
        self._packed = takes_tree_mask(student.model, student.max_length)
        self._scorers: dict[tuple[str, ...], LabelScorer] = {}
        self.max_length = student.max_length
        """Longest row in tokens, prompt and answer; None without a limit."""
        self.parameters = sum(parameter.numel() for parameter in student.model.parameters())
        """Number of weights; shared ones count once."""
        self.size_bytes = size_bytes
        """Size of the weight files."""

    @classmethod
    def load(cls, folder: Path, threads: int | None = None) -> StudentModel:
        """Load a folder written by the student stage.

        `threads` sets torch's threads for the whole process. Raises: OSError, ValueError if the folder is no
        model.
        """
        if threads is not None:
            torch.set_num_threads(threads)
        quiet()
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
        chat = Chat(AutoTokenizer.from_pretrained(folder, local_files_only=True))
        size = sum(path.stat().st_size for path in folder.glob(f"*{WEIGHTS}"))
        return cls(Student(model, chat, max_length_of(model.config, chat.tokenizer)), size)

    def prompt_tokens(self, conversation: Conversation) -> int:
        """Return the length of the prompt in tokens."""
        return len(self._chat.prompts([conversation])[0])

    def fits(self, conversation: Conversation, labels: Sequence[str] = ()) -> bool:
        """Say whether prompt and longest label (or one generated token) stay within `max_length`."""
        if self.max_length is None:
            return True
        room = self._scorer(labels).longest if labels else 1
        return self.prompt_tokens(conversation) + room <= self.max_length

    def label_log_probs(
        self, conversations: Sequence[Conversation], labels: Sequence[str], batch_size: int = 32
    ) -> npt.NDArray[np.float64]:
        """Return log p(label | conversation, the answer is a label), [conversations, labels].

        The arg max over a row is the student's answer. Raises: ValueError for a conversation that does not
        fit, SpecError for labels that the tokenizer cannot tell apart.
        """
        if not conversations:
            return np.empty((0, len(labels)))
        scorer = self._scorer(labels)
        prompts = self._prompts(conversations, scorer.longest)
        scores = torch.log_softmax(scorer.score(prompts, batch_size), dim=-1)
        return np.asarray(scores.numpy(), dtype=np.float64)

    def generate(
        self, conversations: Sequence[Conversation], max_new_tokens: int, batch_size: int = 32
    ) -> list[str]:
        """Return the greedy, unconstrained answers; shorter where `max_length` is reached.

        An answer does not depend on its neighbours: only rows with equal room for theirs share a batch.

        Raises: ValueError for a conversation that does not fit.
        """
        prompts = self._prompts(conversations, 1)
        order = sorted(range(len(prompts)), key=lambda row: (len(prompts[row]), row))
        answers = [""] * len(prompts)

        def room(row: int) -> int:
            most = max_new_tokens if self.max_length is None else self.max_length - len(prompts[row])
            return min(max_new_tokens, most)

        while order:
            first = order[0]
            # Where padding on the left is not understood, only prompts of equal length share a batch.
            same = [
                row
                for row in order[:batch_size]
                if room(row) == room(first) and (self._packed or len(prompts[row]) == len(prompts[first]))
            ]
            batch = [
                row
                for count, row in enumerate(same, 1)
                if count == 1 or count * (len(prompts[row]) + room(row)) <= BATCH_TOKENS
            ]
            order = order[len(batch) :]
            texts = self._generate([prompts[row] for row in batch], room(first))
            for row, text in zip(batch, texts, strict=True):
                answers[row] = text
        return answers

    def _generate(self, prompts: Sequence[Sequence[int]], room: int) -> list[str]:
        width = max(len(prompt) for prompt in prompts)
        pads = [width - len(prompt) for prompt in prompts]
        ids = torch.tensor([[self._chat.pad] * pad + list(p) for pad, p in zip(pads, prompts, strict=True)])
        mask = torch.tensor([[0] * pad + [1] * (width - pad) for pad in pads])
        config = greedy(self._chat, room)
        with torch.inference_mode():
            output = self._model.generate(input_ids=ids, attention_mask=mask, generation_config=config)
        return [self._chat.text(row[width:].tolist()) for row in output]

    def _prompts(self, conversations: Sequence[Conversation], room: int) -> list[list[int]]:
        prompts = self._chat.prompts(conversations)
        for number, prompt in enumerate(prompts):
            if self.max_length is not None and len(prompt) + room > self.max_length:
                problem = f"conversation {number} is {len(prompt)} tokens, and its answer up to {room}"
                raise ValueError(f"{problem}: more than the {self.max_length} that the student takes")
        return prompts

    def _scorer(self, labels: Sequence[str]) -> LabelScorer:
        key = tuple(labels)
        if key not in self._scorers:
            ids = self._chat.labels(labels)
            self._scorers[key] = LabelScorer(
                self._model, ids, self._chat.end, self._chat.pad, packed=self._packed
            )
        return self._scorers[key]


def greedy(chat: Chat, max_new_tokens: int | None = None) -> GenerationConfig:
    """Return the generation settings of a student: the likeliest token until the end token."""
    return GenerationConfig(
        do_sample=False,
        num_beams=1,
        eos_token_id=chat.end,
        pad_token_id=chat.pad,
        max_new_tokens=max_new_tokens,
    )
