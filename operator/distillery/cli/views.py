"""How a run is shown: a live table on a terminal, plain lines elsewhere, JSON lines for programs."""

from __future__ import annotations

import json
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self, TextIO

from distillery.api.v1alpha1.status import StageStatus, Status
from distillery.cli.exit_codes import ExitCode
from distillery.cli.places import Place
from distillery.cli.tables import clock, final_table, stage_line, status_table
from distillery.stages.report import Report

if TYPE_CHECKING:
    from rich.console import RenderableType

PLAIN_INTERVAL = 10.0


class View(Protocol):
    """Receives every status of a run."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def update(self, status: Status, report: Report | None) -> None:
        """Show the present status; `report` is what changed it, if it was a stage's."""
        ...

    def note(self, text: str) -> None:
        """Show one line of text."""
        ...

    def stopping(self, text: str) -> None:
        """Show that the run has been asked to stop. Called from a signal handler."""
        ...

    def finish(self, status: Status, message: str, code: ExitCode) -> None:
        """Show how the run ended."""
        ...


class _AlwaysOpen:
    """A view with nothing to open or close."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


class PlainView(_AlwaysOpen):
    """One line per change of a stage's state, and every ten seconds its progress."""

    def __init__(self, place: Place, out: TextIO) -> None:
        self._place = place
        self._out = out
        self._began = time.monotonic()
        self._shown: dict[str, str] = {}
        self._last_progress = self._began
        self._warned: set[str] = set()

    def update(self, status: Status, report: Report | None) -> None:
        """Print what has changed since the last line."""
        self._warn(report)
        for stage in status.stages:
            if stage.state == "Pending" or not self._worth_a_line(stage):
                continue
            self.note(stage_line(stage, status.cost))

    def note(self, text: str) -> None:
        """Print one line with the time since the start."""
        print(f"{clock(time.monotonic() - self._began)}  {text}", file=self._out, flush=True)

    def stopping(self, text: str) -> None:
        """Print it like a note."""
        self.note(text)

    def finish(self, status: Status, message: str, code: ExitCode) -> None:
        """Print the closing summary."""
        print(final_table(status, message, code, self._place), file=self._out, flush=True)

    def _warn(self, report: Report | None) -> None:
        for warning in report.warnings if report else []:
            if warning not in self._warned:
                self._warned.add(warning)
                self.note(f"warning: {warning}")

    def _worth_a_line(self, stage: StageStatus) -> bool:
        state = f"{stage.state} {stage.attempt}"
        if self._shown.get(stage.name) != state:
            self._shown[stage.name] = state
            self._last_progress = time.monotonic()
            return True
        if stage.state == "Running" and time.monotonic() - self._last_progress >= PLAIN_INTERVAL:
            self._last_progress = time.monotonic()
            return True
        return False


class LiveView(PlainView):
    """A table of all stages that redraws in place; notes scroll above it."""

    def __init__(self, place: Place, out: TextIO) -> None:
        super().__init__(place, out)
        from rich.console import Console
        from rich.live import Live

        self._console = Console(file=out)
        self._status: Status | None = None
        self._footer = ""
        self._live = Live(
            get_renderable=self._table, console=self._console, refresh_per_second=4, transient=True
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def update(self, status: Status, report: Report | None) -> None:
        """Note the status; the table is drawn four times a second, so that its clock runs on."""
        self._warn(report)
        self._status = status

    def note(self, text: str) -> None:
        """Print one line above the table."""
        self._console.print(text, markup=False, highlight=False)

    def stopping(self, text: str) -> None:
        """Put it under the table: printing would tear a table that is just being drawn."""
        self._footer = text

    def _table(self) -> RenderableType:
        if self._status is None:
            return ""
        table = status_table(self._status, time.monotonic() - self._began)
        if self._footer:
            table.caption = f"{table.caption}\n{self._footer}"
        return table


class JsonView(_AlwaysOpen):
    """One JSON object per line: `progress` events, `note`s, and at last `finished` with the whole status."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def update(self, status: Status, report: Report | None) -> None:
        """Write a progress event."""
        self._write({"type": "progress", "phase": status.phase, **status.progress.to_wire()})

    def note(self, text: str) -> None:
        """Write a note."""
        self._write({"type": "note", "message": text})

    def stopping(self, text: str) -> None:
        """Write it like a note."""
        self.note(text)

    def finish(self, status: Status, message: str, code: ExitCode) -> None:
        """Write the closing event."""
        event = {"type": "finished", "exitCode": int(code), "message": message, "status": status.to_wire()}
        self._write(event)

    def _write(self, event: dict[str, object]) -> None:
        print(json.dumps(event, ensure_ascii=False), file=self._out, flush=True)


def view_for(output: str, place: Place, out: TextIO = sys.stdout) -> View:
    """Return the view for an output format and destination."""
    if output == "json":
        return JsonView(out)
    return LiveView(place, out) if out.isatty() else PlainView(place, out)
