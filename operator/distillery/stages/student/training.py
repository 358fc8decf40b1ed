"""The training loop: plain torch, resumable at any step; its outcome follows from rows, recipe and seed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from distillery.api.v1alpha1.student import Student as StudentSection
from distillery.errors import StageFailed, StageStopped
from distillery.modeling.base import Student
from distillery.modeling.loss import loss_sum
from distillery.modeling.packing import cut, forward, lay_out, takes_tree_mask
from distillery.modeling.scoring import LabelScorer
from distillery.stages import report
from distillery.stages.student.checkpoints import Checkpoints, StoredFile
from distillery.stages.student.examples import Example
from distillery.stages.student.schedule import Course, epoch_batches, learning_rate, plan_course
from distillery.stages.student.team import Team
from distillery.stages.student.validation import Look, Validator

ALONE = Team()
STATE, BEST = "state.pt", "best.pt"
LOG_POINTS = 200
"""Rows of the training log between the first step and the last, beside those of evaluations."""

CHECKPOINT_SECONDS = 60.0
CHECKPOINT_SHARE = 0.1
"""A checkpoint waits until saving takes at most about this share of the time, however large the model."""


@dataclass(frozen=True, slots=True)
class Hooks:
    """The outside of a training: where progress goes, whether to stop, and seconds from a steady clock."""

    progress: Callable[[report.Progress], None]
    stop_requested: Callable[[], bool]
    clock: Callable[[], float] = time.monotonic


@dataclass(frozen=True, slots=True)
class Material:
    """What is trained on what. `labels` are the label tokens of a label task, else empty."""

    student: Student
    section: StudentSection
    train: Sequence[Example]
    validation: Sequence[Example]
    labels: Sequence[Sequence[int]]


@dataclass(slots=True)
class Position:
    """How far a training is; with weights, optimizer and random state, all that a resume needs."""

    step: int = 0
    best_step: int = 0
    best: dict[str, float] | None = None
    """The best look as {loss, agreement}."""
    without_improvement: int = 0
    stopped_early: bool = False
    loss_sum: float = 0.0
    loss_tokens: int = 0
    """Since the last row of the log."""
    log: list[dict[str, Any]] = field(default_factory=list)


class Training:
    """One training from its first or last saved step to its end; `run` may be called once."""

    def __init__(
        self, material: Material, checkpoints: Checkpoints, scratch: Path, hooks: Hooks, team: Team = ALONE
    ) -> None:
        """Prepare; `scratch` takes files of this process until they are uploaded."""
        self.material, self._checkpoints, self._scratch, self._hooks = material, checkpoints, scratch, hooks
        self.team = team
        self._scratch.mkdir(parents=True, exist_ok=True)
        section, chat = material.section, material.student.chat
        self._model = material.student.model.train()
        self._packed = takes_tree_mask(self._model, material.student.max_length)
        team.settle(self._model)
        self._pad = chat.pad
        self._lengths = [example.length for example in material.train]
        self._copies = [example.copies for example in material.train]
        self.course: Course = plan_course(
            sum(self._copies), section.batch_size, section.epochs, section.evaluations_per_epoch
        )
        self._optimizer = make_optimizer(self._model, section)
        self._validator = Validator(
            self._model, material.validation, self._pad, section.batch_size, self._packed, team
        )
        self._scorer = (
            LabelScorer(self._model, material.labels, chat.end, self._pad, packed=self._packed)
            if material.labels
            else None
        )
        self._epoch: tuple[int, list[list[int]]] = (-1, [])
        self._best_file: Path | StoredFile | None = None
        self._saved_at = hooks.clock()
        self._save_seconds = 0.0
        self.position = Position()

    def run(self) -> Position:
        """Train to the end and leave the best weights in the leader's model, on the CPU.

        Raises: StageFailed(Diverged) for a loss that is no number; StageStopped after a checkpoint; whatever
        the store raises.
        """
        torch.manual_seed(self.material.section.seed + self.team.rank)  # dropout differs between shares
        self._resume()
        position, started, first = self.position, self._hooks.clock(), self.position.step
        while position.step < self.course.total_steps and not position.stopped_early:
            if self.team.follow(self._hooks.stop_requested()):
                if self.team.leads:
                    self._save()
                raise StageStopped("stop requested")
            loss = self._step(position.step)
            position.step += 1
            evaluated = position.step in self.course.evaluations
            self._log(self._look() if evaluated else None)
            if self.team.leads and self._checkpoint_due(evaluated):
                self._save()
            self._hooks.progress(self._progress(loss, started, first))
        if self.team.leads:
            self._restore_best()
            self._model.to("cpu")
        return position

    def _step(self, index: int) -> float:
        """Take optimizer step `index` and return the mean loss per answer token of its rows.

        Each process adds up the gradients of its share, divided by the tokens of the whole batch: their sum over
        the team is the gradient that one process alone would have.
        """
        batch = [self.material.train[row] for row in self._batch(index)]
        tokens, rows = sum(row.target.tokens for row in batch), self.team.share(batch)
        self._optimizer.zero_grad(set_to_none=True)
        total = 0.0
        lengths, trees = [len(row.prompt) for row in rows], [row.target.tree for row in rows]
        vocabulary = self._model.config.vocab_size
        for run in cut(lengths, trees, vocabulary, packed=self._packed, most=len(rows)):
            part = rows[run]
            layout = lay_out(
                [row.prompt for row in part],
                [row.target.tree for row in part],
                self._pad,
                packed=self._packed,
                dtype=self._model.dtype,
            )
            loss = loss_sum(forward(self._model, layout), layout.index, [row.target for row in part]) / tokens
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.item()
        self.team.sum_gradients(self._model)
        [total] = self.team.sum(total)
        norm = torch.nn.utils.clip_grad_norm_(self._model.parameters(), self._rates().max_grad_norm)
        if not (math.isfinite(total) and math.isfinite(norm.item())):
            raise self._diverged(index)
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate(self._rates(), index, self.course.total_steps)
        self._optimizer.step()
        self.position.loss_sum += total * tokens
        self.position.loss_tokens += tokens
        return total

    def _batch(self, index: int) -> list[int]:
        epoch, within = divmod(index, self.course.steps_per_epoch)
        if self._epoch[0] != epoch:
            section = self.material.section
            batches = epoch_batches(self._lengths, self._copies, section.batch_size, section.seed, epoch)
            self._epoch = (epoch, batches)
        return self._epoch[1][within]

    def _look(self) -> Look | None:
        """Evaluate; remember the weights if they are the best so far, else count towards early stopping."""
        if not self.material.validation:
            return None
        section, position = self.material.section, self.position
        look = (
            self._validator.labels(self._scorer, section.loss)
            if self._scorer is not None
            else self._validator.answers()
        )
        if not math.isfinite(look.loss):
            raise self._diverged(position.step - 1)
        if position.best is None or _better(asdict(look), position.best, section.early_stopping.metric):
            position.best, position.best_step, position.without_improvement = asdict(look), position.step, 0
            if self.team.leads:
                self._keep_best()
        else:
            position.without_improvement += 1
            position.stopped_early = position.without_improvement >= section.early_stopping.patience
        return look

    def _keep_best(self) -> None:
        path = self._scratch / f"best-{self.position.step}.pt"
        torch.save(self._model.state_dict(), path)
        if isinstance(self._best_file, Path):
            self._best_file.unlink()
        self._best_file = path

    def _log(self, look: Look | None) -> None:
        position, every = self.position, max(1, self.course.total_steps // LOG_POINTS)
        if look is None and position.step % every and position.step not in self.course.evaluations:
            return
        position.log.append(
            {
                "step": position.step,
                "epoch": position.step / self.course.steps_per_epoch,
                "learning_rate": learning_rate(self._rates(), position.step - 1, self.course.total_steps),
                "train_loss": position.loss_sum / position.loss_tokens,
                "validation_loss": None if look is None else look.loss,
                "validation_agreement": None if look is None else look.agreement,
            }
        )
        position.loss_sum, position.loss_tokens = 0.0, 0

    def _checkpoint_due(self, evaluated: bool) -> bool:
        if self.position.step == self.course.total_steps:
            return False  # the result follows at once
        waited = self._hooks.clock() - self._saved_at
        return (evaluated or waited >= CHECKPOINT_SECONDS) and waited >= self._save_seconds / CHECKPOINT_SHARE

    def _save(self) -> None:
        began = self._hooks.clock()
        path = self._scratch / STATE
        state = {
            "model": self._model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "random": torch.get_rng_state(),
            "position": asdict(self.position),
        }
        torch.save(state, path)
        files: dict[str, Path | StoredFile] = {STATE: path}
        if self._best_file is not None:
            files[BEST] = self._best_file
        stored = self._checkpoints.save(self.position.step, files)
        if isinstance(self._best_file, Path):
            self._best_file.unlink()
        self._best_file = stored.get(BEST)
        self._saved_at = self._hooks.clock()
        self._save_seconds = self._saved_at - began

    def _resume(self) -> None:
        checkpoint = self._checkpoints.newest()
        self.team.check_same(0 if checkpoint is None else checkpoint.step)
        if checkpoint is None:
            return
        state = torch.load(checkpoint.local[STATE], weights_only=True, map_location="cpu")
        self._model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        if self.team.leads:
            torch.set_rng_state(state["random"])
        self.position = Position(**state["position"])
        self._best_file = checkpoint.stored.get(BEST)

    def _restore_best(self) -> None:
        """Put the best weights back into the model; without a validation split the last ones are kept."""
        if self.position.best_step in (0, self.position.step):
            return
        assert self._best_file is not None
        path = self._best_file
        if isinstance(path, StoredFile):
            path = self._checkpoints.local(path)
        self._model.load_state_dict(torch.load(path, weights_only=True, map_location="cpu"))

    def _progress(self, loss: float, started: float, first: int) -> report.Progress:
        position, total = self.position, self.course.total_steps
        rate = (position.step - first) / max(1e-9, self._hooks.clock() - started)
        return report.Progress(
            done=position.step,
            total=total,
            unit="steps",
            message=f"loss {loss:.3f}" + _shown(position.best),
            rate=rate,
            remaining_seconds=(total - position.step) / rate,
        )

    def _rates(self) -> Any:
        return self.material.section.optimizer

    def _diverged(self, index: int) -> StageFailed:
        rate = self._rates().learning_rate
        problem = f"the loss is no finite number at step {index + 1} with learningRate {rate:g}"
        repair = f"lower student.optimizer.learningRate, for example to {rate / 3:.2g}, or raise warmupRatio"
        return StageFailed("Diverged", f"{problem}: {repair}")


def make_optimizer(model: Any, section: StudentSection) -> torch.optim.AdamW:
    """Return AdamW (Loshchilov & Hutter 2019) that decays matrices only, not norms and biases."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": section.optimizer.weight_decay},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]
    beta1, beta2 = section.optimizer.betas
    return torch.optim.AdamW(groups, lr=section.optimizer.learning_rate, betas=(beta1, beta2), fused=True)


def _better(look: dict[str, float], best: dict[str, float], metric: str) -> bool:
    return look[metric] < best[metric] if metric == "loss" else look[metric] > best[metric]


def _shown(best: dict[str, float] | None) -> str:
    return "" if best is None else f", validation {best['loss']:.3f}, agreement {best['agreement']:.1%}"
