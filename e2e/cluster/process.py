"""Start, stop and watch long-running processes, each known by its own pid (and start time, since pids are reused)."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

STOP_SECONDS = 20.0
TAIL_BYTES = 3000


class Failure(Exception):
    """Something in the cluster did not come up; the message says what, with the end of its log."""


def run(
    *command: str | Path, check: bool = True, text: str | None = None, quiet: bool = False, **options: object
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end and return its output; a failure carries what it wrote."""
    words = [str(word) for word in command]
    if text is not None:
        options["input"] = text
    done: subprocess.CompletedProcess[str] = subprocess.run(  # type: ignore[call-overload]
        words, check=False, text=True, capture_output=True, **options
    )
    if check and done.returncode != 0 and not quiet:
        raise Failure(
            f"{' '.join(words)[:300]}: exit {done.returncode}\n{(done.stderr or done.stdout)[-TAIL_BYTES:]}"
        )
    return done


def write(path: Path, content: str) -> Path:
    """Write a file unless it says so already: kube-proxy ends when its configuration is touched."""
    if not path.exists() or path.read_text() != content:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return path


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold a lock between processes: builds of the same thing wait for each other."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def retry(action: Callable[[], object], attempts: int = 3, pause: float = 5.0) -> None:
    """Repeat an action that downloads something."""
    for left in range(attempts - 1, -1, -1):
        try:
            action()
            return
        except Failure as failure:
            if not left:
                raise
            print(f"  {str(failure).splitlines()[0][:160]}: trying again in {pause:.0f} s", flush=True)
            time.sleep(pause)
            pause *= 3


def direct() -> dict[str, str]:
    """Return the environment without proxies: nothing in the cluster's namespace could reach one."""
    return {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}


def start_time(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot; None if there is none (or only a zombie)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


@dataclass(frozen=True)
class Daemon:
    """One process of the cluster. `folder` holds run/NAME.json (its pid) and logs/NAME.log."""

    name: str
    folder: Path
    command: Sequence[str | Path]
    ready: Callable[[], bool] = lambda: True
    netns: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def log(self) -> Path:
        return self.folder / "logs" / f"{self.name}.log"

    @property
    def _record(self) -> Path:
        return self.folder / "run" / f"{self.name}.json"

    def pid(self) -> int | None:
        """Return the pid of the running process, None if it does not run."""
        try:
            record = json.loads(self._record.read_text())
        except (OSError, ValueError):
            return None
        pid: int = record["pid"]
        return pid if start_time(pid) == record["started"] else None

    def start(self, seconds: float = 60.0) -> None:
        """Start it unless it runs, and wait until it is ready."""
        if self.pid() is None:
            self._spawn()
        self.wait(seconds)

    def _spawn(self) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._record.parent.mkdir(parents=True, exist_ok=True)
        # nsenter replaces itself by the command, so the pid is the command's own. (`ip netns exec` would remount
        # /sys, and kubelet would lose its cgroups.)
        enter = ["nsenter", f"--net=/run/netns/{self.netns}", "--"] if self.netns else []
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [*enter, *map(str, self.command)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env={**direct(), **self.environment},
                start_new_session=True,
            )
        record = {"pid": process.pid, "started": start_time(process.pid)}
        self._record.write_text(json.dumps(record))

    def wait(self, seconds: float = 60.0) -> None:
        """Wait until it is ready; say what its log says if it ends or takes too long."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.pid() is None:
                raise Failure(f"{self.name} ended; the end of {self.log}:\n{self.tail()}")
            if self.ready():
                return
            time.sleep(0.1)
        raise Failure(
            f"{self.name} is not ready after {seconds:.0f} s; the end of {self.log}:\n{self.tail()}"
        )

    def stop(self, number: int = signal.SIGTERM, seconds: float = STOP_SECONDS) -> bool:
        """End it by its pid, hard after `seconds`; return whether it ran."""
        pid = self.pid()
        if pid is not None:
            end(pid, number, seconds)
        self._record.unlink(missing_ok=True)
        return pid is not None

    def tail(self) -> str:
        """Return the end of its log."""
        try:
            return self.log.read_bytes()[-TAIL_BYTES:].decode(errors="replace")
        except OSError:
            return "(no log)"


def end(pid: int, number: int = signal.SIGTERM, seconds: float = STOP_SECONDS) -> None:
    """Signal one process and wait for its end; SIGKILL after `seconds`."""
    started = start_time(pid)
    for signal_number, patience in ((number, seconds), (signal.SIGKILL, 10.0)):
        deadline = time.monotonic() + patience
        while started is not None and start_time(pid) == started:
            if deadline - time.monotonic() >= patience - 0.001 or signal_number != number:
                _signal(pid, signal_number)
            if time.monotonic() > deadline:
                break
            _reap(pid)
            time.sleep(0.05)


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _reap(pid: int) -> None:
    """Take the exit status if it is our own child, so that it does not stay as a zombie."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return
