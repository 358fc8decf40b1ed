"""The runner around the job: its teacher process, its exit status, its closing table."""

from __future__ import annotations

import signal
import socket
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import quickstart

from distillery.api.dumping import dump_yaml
from distillery.api.v1alpha1.status import EvaluationStatus, StageStatus, Status

SUMMARIES = {
    "dataset": {"rows": 5900, "duplicates": 400},
    "teacher": {"answered": 4927},
    "filter": {"asked": 4927, "kept": 4860, "rejectedByLength": 4, "rejectedByRefusal": 63},
    "student": {"parameters": 432096, "sizeBytes": 1730488},
    "evaluation": {
        "agreement": 0.9356,
        "rows": 973,
        "teacherP50Ms": 11.24,
        "studentP50Ms": 3.98,
        "teacherCostPerThousand": "0.112109",
    },
}


def write_status(folder: Path, evaluation: EvaluationStatus | None) -> None:
    stages = [
        StageStatus(name=name, state="Succeeded", summary=summary) for name, summary in SUMMARIES.items()
    ]
    status = Status(phase="Succeeded", stages=stages, evaluation=evaluation)
    (folder / "status.yaml").write_text(dump_yaml(status.to_wire()))


def test_the_closing_table_says_what_came_out(tmp_path):
    write_status(tmp_path, EvaluationStatus(verdict="passed", retention=1.008, interval=[0.982, 1.033]))
    assert quickstart.closing_table(tmp_path, seconds=171.6).splitlines() == [
        "verdict          passed",
        "retention        100.8% [98.2%, 103.3%] of the teacher's accuracy",
        "agreement        93.6% of 973 test rows",
        "latency, p50     teacher 11.2 ms over HTTP, student 4.0 ms in process",
        "size             teacher 22.7 M parameters, 90.9 MB, student 0.4 M parameters, 1.7 MB",
        "cost per 1,000   teacher 0.112109 USD at the example prices, student only the machine it runs on",
        "near-duplicates  400 tickets left out",
        "filter dropped   length 4, refusal 63 of 4927 answers",
        "time             172 s",
        f"report           {tmp_path}/report.html",
    ]


def test_without_an_evaluation_there_is_no_table(tmp_path):
    write_status(tmp_path, None)
    with pytest.raises(quickstart.QuickstartError, match="holds no evaluation"):
        quickstart.closing_table(tmp_path, seconds=1)


def test_the_exit_status_is_that_of_the_job():
    assert quickstart.run_job([sys.executable, "-c", "import sys; sys.exit(3)"]) == 3


def test_a_termination_reaches_the_job():
    """The job terminates its parent, the runner, which hands the signal on and waits."""
    job = "import os, signal, time; os.kill(os.getppid(), signal.SIGTERM); time.sleep(60)"
    before = signal.getsignal(signal.SIGTERM)
    assert quickstart.run_job([sys.executable, "-c", job]) == -signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_teacher_listens_at_once_and_is_gone_afterwards(tmp_path):
    with quickstart.teacher(tmp_path / "teacher.log") as url:
        address = (urlsplit(url).hostname, urlsplit(url).port)
        socket.create_connection(address, timeout=10).close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, timeout=10)


def test_a_teacher_that_does_not_start_is_reported_with_its_log(tmp_path, monkeypatch):
    monkeypatch.setattr(quickstart, "HERE", tmp_path)
    with (
        pytest.raises(quickstart.QuickstartError, match=r"did not start, see .*teacher\.log"),
        quickstart.teacher(tmp_path / "teacher.log"),
    ):
        pass
    assert "teacher.py" in (tmp_path / "teacher.log").read_text()
