"""The worker's lines reach the container's log as far as it takes them, and never hold the worker up."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from distillery.secrets import EnvironmentSecrets
from distillery.settings import Settings
from distillery.worker.logs import KeptLog, configure_logging

SECRETS = EnvironmentSecrets(Settings({"DISTILLERY_SECRET_TEACHER_KEY": "sk-planted"}))
LOG = logging.getLogger("distillery.test")


@pytest.fixture(autouse=True)
def log_of_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    root.handlers[:] = []  # so that `force` closes none of pytest's
    yield
    for handler in root.handlers:
        handler.close()
    logging.captureWarnings(False)
    root.handlers[:], root.level = handlers, level


def lines(text: str) -> list[dict[str, object]]:
    return [
        {key: line[key] for key in line if key not in ("time", "logger")}
        for line in map(json.loads, text.splitlines())
    ]


def test_the_same_lines_without_secrets_go_to_both(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "log").write_text("")
    kept = configure_logging(SECRETS, {"stage": "teacher", "attempt": 2}, tmp_path / "log")
    LOG.warning("refused %s", "sk-planted")
    want = [{"level": "warning", "message": "refused ***", "stage": "teacher", "attempt": 2}]
    assert lines((tmp_path / "log").read_text()) == want
    assert lines(capsys.readouterr().err) == want
    assert lines(kept.content().decode()) == want


def test_half_a_character_that_a_server_sent_raises_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "log").write_text("")
    kept = configure_logging(SECRETS, {}, tmp_path / "log")
    LOG.warning("redirects to %s", "caf\udce9")
    assert lines(kept.content().decode())[0]["message"] == "redirects to caf\udce9"
    assert (tmp_path / "log").read_bytes() == kept.content()
    assert "redirects to" in capsys.readouterr().err


def test_of_a_long_log_the_end_is_kept() -> None:
    kept = KeptLog(most=64)
    for number in range(100):
        kept.handle(logging.makeLogRecord({"msg": f"line {number}"}))
    assert kept.content().decode().splitlines() == [f"line {number}" for number in range(92, 100)]
    kept.handle(logging.makeLogRecord({"msg": "x" * 1000}))
    assert kept.content() == b"x" * 1000 + b"\n"


def test_a_full_pipe_loses_lines_and_holds_nobody_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    configure_logging(SECRETS, {}, tmp_path / "pipe")
    for number in range(2000):
        LOG.info("%d %s", number, "x" * 500)
    read = b""
    while (part := os.read(reader, 1 << 16)) and len(read) < 1 << 20:
        read += part
        if len(part) < 1 << 16:
            break
    LOG.info("after")
    read += os.read(reader, 1 << 16)
    os.close(reader)
    LOG.info("nobody reads any more")
    whole = [line for line in read.decode().splitlines() if line.endswith("}")]
    assert json.loads(whole[0])["message"].startswith("0 x")
    assert json.loads(whole[-1])["message"] == "after"


@pytest.mark.parametrize("kind", ["missing", "a folder", "a pipe that nobody reads"])
def test_where_nothing_can_be_written_there_is_one_log_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    path = tmp_path / "log"
    if kind == "a folder":
        path.mkdir()
    if kind == "a pipe that nobody reads":
        os.mkfifo(path)
    configure_logging(SECRETS, {}, path)
    LOG.info("here")
    assert lines(capsys.readouterr().err) == [{"level": "info", "message": "here"}]


def test_only_a_worker_in_one_of_the_operators_pods_writes_to_the_containers_log(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    in_pod = Settings({"DISTILLERY_ASSIGNMENT": "/etc/distillery/assignment.json"})
    assert in_pod.container_log == Path("/proc/1/fd/1")
    assert Settings({"DISTILLERY_ASSIGNMENT": "/tmp/assignment.json"}).container_log is None
    assert Settings({}).container_log is None
    monkeypatch.setattr(os, "getpid", lambda: 1)
    assert in_pod.container_log is None
