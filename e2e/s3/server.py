"""A real S3 server on loopback for tests: versitygw, built once from Go modules, over a temporary folder.

    python e2e/s3/server.py        start it, print what clients need as `export …` lines, stop on Ctrl-C

The version is pinned in go.mod beside this file. The binary is kept outside the checkout, in
${DISTILLERY_CACHE:-~/.cache/distillery}, so that a fresh clone on a warm machine starts at once.
"""

from __future__ import annotations

import hashlib
import os
import platform
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType

HERE = Path(__file__).resolve().parent
PACKAGE = "github.com/versity/versitygw/cmd/versitygw"
BUCKET = "distillery-test"
START_SECONDS = 30.0
STOP_SECONDS = 10.0


class ServerError(Exception):
    """The server cannot be built or started; the message says what to do."""


def cache_folder() -> Path:
    """Return where binaries are kept between checkouts."""
    return Path(os.environ.get("DISTILLERY_CACHE") or Path.home() / ".cache" / "distillery")


def build() -> Path:
    """Return the path of the server's binary; build it if the cache lacks this version."""
    pins = hashlib.sha256((HERE / "go.mod").read_bytes() + (HERE / "go.sum").read_bytes()).hexdigest()[:12]
    name = f"versitygw-{platform.system().lower()}-{platform.machine().lower()}-{pins}"
    binary = cache_folder() / "bin" / name
    if binary.exists():
        return binary
    go = shutil.which("go")
    if go is None:
        raise ServerError(
            "the S3 tests build their server with Go: install Go 1.25 or later and put it on PATH"
        )
    binary.parent.mkdir(parents=True, exist_ok=True)
    print(f"building the S3 server once into {binary} (one to three minutes)", file=sys.stderr)
    part = binary.with_name(f".{name}.{os.getpid()}")
    command = ["nice", go, "build", "-mod=readonly", "-trimpath", "-ldflags=-s -w", "-o", str(part), PACKAGE]
    try:
        if subprocess.run(command, cwd=HERE, check=False).returncode != 0:
            raise ServerError("the S3 server could not be built: see the output of `go build` above")
        part.replace(binary)
    finally:
        part.unlink(missing_ok=True)
    return binary


def require_attributes(folder: Path) -> None:
    """Check that the file system has extended attributes.

    The server keeps etags there. Its alternative, a sidecar folder, writes content and etag one after the other, so
    that If-Match lets two writers win (seen with v1.8.0).
    """
    if not hasattr(os, "setxattr"):
        return  # macOS has them everywhere
    try:
        os.setxattr(folder, "user.distillery", b"1")
    except OSError as error:
        raise ServerError(
            f"{folder} has no extended attributes, which the S3 server needs: set TMPDIR to a folder on ext4, xfs or "
            "btrfs"
        ) from error


def free_port() -> int:
    """Return a port of loopback that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Server:
    """A running server with one empty bucket. A context manager; stops its own process only."""

    def __init__(self) -> None:
        self.binary = build()
        self.folder = Path(tempfile.mkdtemp(prefix="distillery-s3-"))
        self.port = free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.access_key = "test" + secrets.token_hex(6)
        self.secret_key = secrets.token_hex(20)
        self._process: subprocess.Popen[bytes] | None = None

    def environment(self) -> dict[str, str]:
        """Return the variables by which tests find the server."""
        return {
            "DISTILLERY_TEST_S3_ENDPOINT": self.endpoint,
            "DISTILLERY_TEST_S3_BUCKET": BUCKET,
            "DISTILLERY_TEST_S3_ACCESS_KEY": self.access_key,
            "DISTILLERY_TEST_S3_SECRET_KEY": self.secret_key,
        }

    def __enter__(self) -> Server:
        data = self.folder / "data"
        (data / BUCKET).mkdir(parents=True)
        require_attributes(data)
        command = [str(self.binary), "--port", f"127.0.0.1:{self.port}", "--quiet", "--keep-alive"]
        command += ["posix", str(data)]
        keys = {"ROOT_ACCESS_KEY": self.access_key, "ROOT_SECRET_KEY": self.secret_key}
        self._log = (self.folder / "server.log").open("wb")
        self._process = subprocess.Popen(
            command, env={**os.environ, **keys}, stdout=self._log, stderr=subprocess.STDOUT
        )
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop the server and remove its data."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
            self._log.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _wait(self) -> None:
        """Wait until the server answers; an unsigned request gets 403, which is an answer."""
        assert self._process is not None
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                log = (self.folder / "server.log").read_text(errors="replace")[-2000:]
                raise ServerError(f"the S3 server ended at once:\n{log}")
            try:
                urllib.request.urlopen(self.endpoint, timeout=2).close()
                return
            except urllib.error.HTTPError as answer:
                answer.close()
                return
            except OSError:
                time.sleep(0.1)
        raise ServerError(f"the S3 server did not answer within {START_SECONDS:.0f} s")


def stop_on_sigterm() -> None:
    """Make SIGTERM end this process like Ctrl-C, so that the server is stopped too."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))


def main() -> int:
    stop_on_sigterm()
    try:
        with Server() as server:
            for name, value in server.environment().items():
                print(f"export {name}={value}", flush=True)
            while True:
                time.sleep(3600)
    except ServerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    sys.exit(main())
