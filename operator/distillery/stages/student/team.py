"""The processes that train one student together: each takes its share of every batch, all take the same step.

A process that trains alone is a team of one, for which all of this is nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import distributed

from distillery.errors import StageFailed

T = TypeVar("T")
CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True)
class Team:
    """One process's view of its team. `device` is where it computes; rank 0 leads: it saves and reports."""

    rank: int = 0
    size: int = 1
    device: torch.device = CPU

    @classmethod
    def join(cls, device: torch.device) -> Team:
        """Return the team of the process group that was set up for this process, or a team of one."""
        if not distributed.is_initialized():
            return cls(device=device)
        return cls(distributed.get_rank(), distributed.get_world_size(), device)

    @property
    def leads(self) -> bool:
        """Whether this process saves and reports."""
        return self.rank == 0

    def share(self, rows: Sequence[T]) -> Sequence[T]:
        """Return this process's share: every n-th row, so that rows sorted by length are shared out evenly."""
        return rows if self.size == 1 else rows[self.rank :: self.size]

    def sum(self, *values: float) -> list[float]:
        """Return the sums of each process's values; all must call it."""
        if self.size == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64, device=self.device)
        distributed.all_reduce(total)
        return total.tolist()

    def follow(self, flag: bool) -> bool:
        """Return the leader's flag; all must call it."""
        return bool(self.sum(flag if self.leads else False)[0])

    def sum_gradients(self, model: torch.nn.Module) -> None:
        """Replace every gradient by the sum over the team, as one message."""
        if self.size == 1:
            return
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        for parameter in parameters:
            if parameter.grad is None:  # this share of the batch was empty, or did not touch it
                parameter.grad = torch.zeros_like(parameter)
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        distributed.all_reduce(flat)
        at = 0
        for gradient in gradients:
            gradient.copy_(flat[at : at + gradient.numel()].view_as(gradient))
            at += gradient.numel()

    def check_same(self, step: int) -> None:
        """Check that all resume from the same step. Raises: StageFailed(CheckpointsDiffer)."""
        total, squares = self.sum(step, step * step)
        if total != self.size * step or squares != self.size * step * step:
            message = "the workers found different checkpoints in the store: run again"
            raise StageFailed("CheckpointsDiffer", message, "infrastructure")

    def settle(self, model: Any) -> None:
        """Put the model on the device; inputs follow it there, and what an evaluation yields comes back."""
        if self.device.type == "cpu":
            return
        model.to(self.device)
        model.register_forward_pre_hook(self._bring, with_kwargs=True)
        model.register_forward_hook(_fetch)

    def _bring(
        self, model: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        moved = {
            name: value.to(self.device) if isinstance(value, torch.Tensor) else value
            for name, value in kwargs.items()
        }
        return args, moved


def _fetch(model: torch.nn.Module, args: tuple[Any, ...], output: Any) -> Any:
    if not model.training:
        output.logits = output.logits.cpu()
    return output
