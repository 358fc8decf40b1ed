"""Status as text: one line per stage, the table of a run, the closing summary."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from distillery.api.v1alpha1.conditions import ConditionType, Reason, find_condition
from distillery.api.v1alpha1.status import CostStatus, GateStatus, StageStatus, Status
from distillery.cli.exit_codes import ExitCode
from distillery.cli.places import Place

if TYPE_CHECKING:
    from rich.table import Table

SYMBOLS = {"Pending": "·", "Running": "▸", "Succeeded": "✓", "Failed": "✗", "Stopped": "‖"}
GATE_SYMBOLS = {"passed": "✓", "failed": "✗", "undecided": "?"}


def clock(seconds: float) -> str:
    """Format seconds as m:ss or h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def amount(value: Decimal | None, currency: str) -> str:
    """Format money with at least cents, more where the amount is small."""
    if value is None:
        return "–"
    digits = 2 if value >= 1 or value == 0 else 4
    return f"{value:.{digits}f} {currency}"


def stage_line(stage: StageStatus, cost: CostStatus) -> str:
    """Describe a stage in one line."""
    line = f"{SYMBOLS[stage.state]} {stage.name:<10} {stage.state.lower():<9}"
    if stage.state == "Succeeded":
        return f"{line} {'reused, ' if stage.reused else ''}{facts(stage.summary)}".rstrip(" ,")
    parts = [part for part in (progress_text(stage), _spent(stage, cost)) if part]
    return f"{line} {', '.join(parts)}".rstrip()


def trouble_beside(status: Status) -> str:
    """Return what is wrong with the pods of a stage that runs nevertheless, or nothing."""
    found = find_condition(status.conditions, ConditionType.RECONCILING)
    if found is None or found.reason != Reason.STAGE_RUNNING:
        return ""
    return found.message.partition("; ")[2]


def progress_text(stage: StageStatus) -> str:
    """Describe how far a running stage is: rows, rate, time left."""
    progress = stage.progress
    if progress is None:
        return ""
    parts = []
    if progress.total:
        parts.append(f"{progress.done}/{progress.total} {progress.unit}")
    elif progress.done:
        parts.append(f"{progress.done} {progress.unit}")
    if progress.rate:
        parts.append(f"{progress.rate:.1f}/s")
    if progress.estimated_seconds_remaining is not None:
        parts.append(f"{clock(progress.estimated_seconds_remaining)} left")
    if progress.message:
        parts.append(progress.message)
    return ", ".join(parts)


def facts(summary: dict[str, Any], most: int = 5) -> str:
    """List the first few scalars of a summary."""
    return ", ".join(f"{key} {_scalar(value)}" for key, value in list(summary.items())[:most])


def status_table(status: Status, seconds: float | None = None) -> Table:
    """Return the table of all stages for a terminal."""
    from rich.table import Table

    caption = f"{status.progress.percent:.0f} %"
    if seconds is not None:
        caption += f" after {clock(seconds)}"
    if status.progress.estimated_seconds_remaining is not None:
        caption += f", {clock(status.progress.estimated_seconds_remaining)} left in {status.progress.stage}"
    if status.cost.spent is not None:
        caption += f", spent {amount(status.cost.spent, status.cost.currency)}"
    if status.cost.estimated is not None:
        caption += f" of about {amount(status.cost.estimated, status.cost.currency)}"
    table = Table(caption=caption, box=None, pad_edge=False, caption_justify="left")
    for column in ("", "stage", "state", "progress"):
        table.add_column(column, no_wrap=column != "progress")
    for stage in status.stages:
        text = (
            facts(stage.summary) + (" (reused)" if stage.reused else "")
            if stage.state == "Succeeded"
            else progress_text(stage)
        )
        table.add_row(SYMBOLS[stage.state], stage.name, stage.state.lower(), text)
    return table


def final_table(status: Status, message: str, code: ExitCode, place: Place) -> str:
    """Return the closing summary: verdict, gates, money, and where to look."""
    lines = ["", f"{_headline(code)}: {message}"]
    evaluation = status.evaluation
    if evaluation is not None:
        if evaluation.retention is not None:
            name = "agreement" if evaluation.basis == "teacher" else "retention"
            lines.append(f"{name:<11} {_interval(evaluation.retention, evaluation.interval)}")
        lines += [gate_line(gate) for gate in evaluation.gates]
    lines += result_lines(status, place)
    lines.append(f"spent       {amount(status.cost.spent, status.cost.currency)}{_unknown(status.cost)}")
    lines.append(f"status      {place.status}")
    return "\n".join(lines)


def result_lines(status: Status, place: Place) -> list[str]:
    """Say where the report and the released student are, as far as there are any."""
    lines = []
    if report := place.report(status):
        lines.append(f"report      {report}")
    if (release := status.release) is not None:
        lines.append(f"released    {release.name} {release.version} → {release.uri}")
    return lines


def gate_line(gate: GateStatus) -> str:
    """Describe one gate."""
    return f"  {GATE_SYMBOLS[gate.result]} {gate.name:<28} {gate.result:<9} {gate.message}".rstrip()


def _headline(code: ExitCode) -> str:
    return {
        ExitCode.COMPLETE: "complete",
        ExitCode.GATES_FAILED: "not released",
        ExitCode.STOPPED: "stopped",
        ExitCode.INVALID: "invalid input",
        ExitCode.INTERRUPTED: "interrupted",
        ExitCode.FAILED: "failed",
    }[code]


def _interval(value: float, interval: list[float] | None) -> str:
    text = f"{value:.1%}"
    return text if interval is None else f"{text} [{interval[0]:.1%}, {interval[1]:.1%}]"


def _spent(stage: StageStatus, cost: CostStatus) -> str:
    if stage.name not in ("teacher", "evaluation") or not cost.spent:
        return ""
    return f"spent {amount(cost.spent, cost.currency)}"


def _unknown(cost: CostStatus) -> str:
    if not cost.unknown:
        return ""
    return f" + at most {amount(cost.unknown, cost.currency)} for calls lost in a crash"


def _scalar(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
