"""What a check is: one rule that spans fields, and the fields that it reads."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from distillery.api.v1alpha1.distillation_job import DistillationJobSpec
from distillery.errors import Problem

Judge = Callable[[DistillationJobSpec], Iterable[Problem]]


@dataclass(frozen=True, slots=True)
class Check:
    """A rule, named as the sentence that holds when it fires.

    `reads` are paths below the spec: while one of them is wrong in itself, the rule is not judged.
    """

    judge: Judge
    reads: tuple[str, ...]

    @property
    def name(self) -> str:
        """The name of the rule."""
        return self.judge.__name__
