"""How many questions a job will ask, and how long their prompts are, for cost estimates. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from distillery.rules.prompts import render
from distillery.stages.dataset.inputs import Inputs, TableRow


@dataclass(frozen=True, slots=True)
class Questions:
    """Some calls to the teacher. `prompt_bytes` is the UTF-8 length of the contents of all their messages."""

    count: int = 0
    prompt_bytes: int = 0


@dataclass(frozen=True, slots=True)
class QuestionEstimate:
    """What every use of the teacher will ask, before the answer cache and before filters."""

    train: Questions
    validation: Questions
    test: Questions
    extra_samples: Questions
    noise: Questions
    """Test rows asked a second time; their length is the test split's average."""

    @property
    def total(self) -> Questions:
        """All of them."""
        parts = (self.train, self.validation, self.test, self.extra_samples, self.noise)
        return Questions(sum(part.count for part in parts), sum(part.prompt_bytes for part in parts))


def estimate(
    inputs: Inputs, system_prompt: str | None, extra_samples: int, noise_rows: int
) -> QuestionEstimate:
    """Count the questions of a job.

    Args:
        inputs: the finished table; copies are not asked again.
        system_prompt: the task's.
        extra_samples: answers beside the production answer of each training row.
        noise_rows: test rows that the evaluation asks twice.
    """
    train, validation, test = (
        _questions(inputs.split(split), system_prompt) for split in ("train", "validation", "test")
    )
    noise = min(noise_rows, test.count)
    return QuestionEstimate(
        train=train,
        validation=validation,
        test=test,
        extra_samples=Questions(train.count * extra_samples, train.prompt_bytes * extra_samples),
        noise=Questions(noise, round(test.prompt_bytes * noise / test.count) if test.count else 0),
    )


def _questions(rows: list[TableRow], system_prompt: str | None) -> Questions:
    sizes = (
        len(message["content"].encode()) for row in rows for message in render(system_prompt, row["messages"])
    )
    return Questions(len(rows), sum(sizes))
