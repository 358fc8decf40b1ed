"""The quickstart's teacher as a function: a ticket → how well each category fits it. Offline, and repeatable.

Each category is described by some twenty sentences (descriptions.toml). A ticket's score for a category is a scaled
log-sum-exp of the cosines between its embedding and theirs, a soft maximum; a softmax over the scores gives the
probabilities. Embeddings: all-MiniLM-L6-v2 (Apache-2.0), mean over tokens, as its authors publish it.

What a row scores must not depend on the rows that happen to share its batch, else no two runs agree. Padding and
matrix shapes change the last bits of a float, so the reference is a row by itself, rounded to a grid. A batch only
anticipates that: a value so close to the edge of a grid cell that the batch might round it differently is settled by
computing its row alone.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from transformers import AutoModel, AutoTokenizer

MAX_TOKENS = 128
SHARPNESS = 0.05
"""β of the log-sum-exp: smaller is nearer to the best description alone."""
TEMPERATURE = 0.05
"""Of the softmax over scores."""
GRID = 1e-3
"""Values are rounded to multiples of it: 0.02 in a logit."""
DOUBT = 2e-6
"""Ten times the largest difference seen between a row in a batch and the same row alone."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the teacher thinks of one text. `scores` are in the order of `ZeroShot.categories`."""

    scores: tuple[float, ...]
    likeness: float
    """Cosine with the most similar description of all; low for texts that are about nothing described."""

    def log_probs(self, temperature: float = TEMPERATURE) -> list[float]:
        """Return the natural log-probability of every category."""
        logits = np.array(self.scores) / temperature
        logits -= logits.max()
        return [float(value) for value in logits - np.log(np.exp(logits).sum())]


@cache
def descriptions() -> dict[str, list[str]]:
    """Return category → sentences that describe it."""
    return tomllib.loads(Path(__file__).with_name("descriptions.toml").read_text(encoding="utf-8"))


def use_one_core() -> None:
    """Let this thread's torch operations use one core: sums are then always added up in the same order."""
    torch.set_num_threads(1)


class ZeroShot:
    """The classifier. `judge` may run in several threads at once, each with one core (see `use_one_core`)."""

    def __init__(self, folder: Path) -> None:
        use_one_core()
        self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self._model = AutoModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32).eval()
        self.categories = tuple(descriptions())
        sentences = [text for texts in descriptions().values() for text in texts]
        self._described = np.stack([self._embed([self.tokens(text)])[0] for text in sentences])
        counts = [len(texts) for texts in descriptions().values()]
        self._starts = np.cumsum([0, *counts[:-1]])
        self._counts = np.array(counts)

    def tokens(self, text: str) -> list[int]:
        """Return the token ids of a text, cut to MAX_TOKENS."""
        ids: list[int] = self._tokenizer(text, truncation=True, max_length=MAX_TOKENS)["input_ids"]
        return ids

    def judge(self, rows: Sequence[Sequence[int]]) -> list[Judgement]:
        """Return the judgement of every row of token ids; the same for a row whatever the others are."""
        values = self._values(self._embed(rows))
        if len(rows) > 1:
            distance = np.abs(values / GRID - np.floor(values / GRID) - 0.5) * GRID
            for row in np.flatnonzero((distance < DOUBT).any(axis=1)).tolist():
                values[row] = self._values(self._embed([rows[row]]))[0]
        settled = np.round(values / GRID) * GRID
        return [Judgement(tuple(row[:-1].tolist()), float(row[-1])) for row in settled]

    def _values(self, embeddings: Floats) -> Floats:
        """Return the scores of the categories and, in the last column, the largest cosine."""
        # einsum, not a matrix product: that one adds up in an order that depends on the number of rows.
        cosines = np.einsum("rd,sd->rs", embeddings, self._described)
        sums = np.add.reduceat(np.exp(cosines / SHARPNESS), self._starts, axis=1)
        scores = SHARPNESS * np.log(sums / self._counts)
        return np.concatenate([scores, cosines.max(axis=1, keepdims=True)], axis=1)

    @torch.inference_mode()
    def _embed(self, rows: Sequence[Sequence[int]]) -> Floats:
        width = max(len(row) for row in rows)
        ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
        states = self._model(input_ids=ids, attention_mask=mask).last_hidden_state
        mean = (states * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)
        return torch.nn.functional.normalize(mean, dim=-1).double().numpy()
