"""Values are found by reference and hidden in every text, record and report."""

from __future__ import annotations

import json
import logging
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distillery.errors import SpecError
from distillery.logs import JsonLines
from distillery.runner.secrets import LocalSecrets
from distillery.secrets import EnvironmentSecrets, HidingFilter
from distillery.settings import Settings
from distillery.stages.report import Failure, Outcome, Progress, Report
from distillery.stages.reporting import without_secrets
from distillery.worker.secrets import PodSecrets

KEY = 'sk-"x"/ü 4711'
SETTINGS = Settings({"DISTILLERY_SECRET_TEACHER_API_KEY": KEY + "\n", "DISTILLERY_SECRET_S3_PIN": "abc"})


def test_a_value_is_found_without_the_line_end_that_a_file_has_added() -> None:
    assert EnvironmentSecrets(SETTINGS).get("teacher", "api-key") == KEY


def test_every_value_of_the_environment_is_hidden_before_anyone_asks_for_it() -> None:
    hide = EnvironmentSecrets(SETTINGS).hide
    assert hide(f"Bearer {KEY}!") == "Bearer ***!"
    assert hide(json.dumps({"key": KEY})) == '{"key": "***"}'
    assert hide("http://host/?key=sk-%22x%22%2F%C3%BC%204711") == "http://host/?key=***"


def test_a_value_of_three_letters_is_no_secret() -> None:
    assert EnvironmentSecrets(SETTINGS).hide("abc in abcdef") == "abc in abcdef"


def test_a_value_from_a_file_is_hidden_once_it_was_handed_out(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("from-a-file\r\n")
    secrets = LocalSecrets(SETTINGS, [f"teacher/api-key=file:{tmp_path}/key"])
    assert secrets.get("teacher", "api-key") == "from-a-file"
    assert secrets.hide("from-a-file") == "***"


@given(st.lists(st.text("abc", min_size=4, max_size=8), min_size=1, max_size=6), st.text("abcd", max_size=40))
def test_no_value_survives_though_values_contain_each_other(values: list[str], text: str) -> None:
    secrets = EnvironmentSecrets(Settings({f"DISTILLERY_SECRET_{n}": v for n, v in enumerate(values)}))
    hidden = secrets.hide(text)
    assert not any(value in hidden for value in values)


def test_a_missing_value_is_explained_in_the_words_of_the_place() -> None:
    with pytest.raises(SpecError) as local:
        LocalSecrets(SETTINGS).get("s3", "AWS_ACCESS_KEY_ID")
    assert "export DISTILLERY_SECRET_S3_AWS_ACCESS_KEY_ID=" in str(local.value)
    with pytest.raises(SpecError) as pod:
        PodSecrets(SETTINGS, "support").get("s3", "AWS_ACCESS_KEY_ID")
    assert str(pod.value) == (
        "secret s3/AWS_ACCESS_KEY_ID: the Secret s3 in namespace support has no value under the key "
        "AWS_ACCESS_KEY_ID → add the key AWS_ACCESS_KEY_ID to the Secret; the next attempt reads it"
    )


def test_a_log_line_is_json_with_its_fields_and_without_secrets() -> None:
    formatter, hiding = JsonLines({"stage": "teacher"}), HidingFilter(EnvironmentSecrets(SETTINGS))
    try:
        raise ValueError(f"key {KEY}")
    except ValueError as error:
        trace = (ValueError, error, error.__traceback__)
    record = logging.LogRecord(
        "some", logging.ERROR, "f.py", 3, "got %s", (KEY,), trace, sinfo=f"stack {KEY}"
    )
    assert hiding.filter(record)
    line = json.loads(formatter.format(record))
    assert {name: line[name] for name in ("level", "logger", "message", "stage", "stack")} == {
        "level": "error",
        "logger": "some",
        "message": "got ***",
        "stage": "teacher",
        "stack": "stack ***",
    }
    assert line["exception"].endswith("ValueError: key ***")


def test_every_text_of_a_report_is_cleaned_and_no_digest_is() -> None:
    secrets = EnvironmentSecrets(Settings({"DISTILLERY_SECRET_A_B": "cafe"}))
    outcome = Outcome(
        stage="filter",
        identity="cafe01",
        output_digest="02cafe",
        summary={"a": ["cafe", {"b": "x cafe"}], "n": 3},
    )
    report = Report(
        stage="filter",
        recipe="cafe",
        attempt=1,
        sources="cafe",
        progress=Progress(message="at cafe"),
        failure=Failure(failure_class="user", reason="Some", message="cafe"),
        result=outcome,
        reusable=[outcome],
        warnings=["cafe"],
    )
    clean = outcome.model_copy(update={"summary": {"a": ["***", {"b": "x ***"}], "n": 3}})
    assert without_secrets(report, secrets.hide) == report.model_copy(
        update={
            "progress": Progress(message="at ***"),
            "failure": Failure(failure_class="user", reason="Some", message="***"),
            "result": clean,
            "reusable": [clean],
            "warnings": ["***"],
        }
    )


def test_what_travels_holds_no_value_and_reads_the_environment_where_it_arrives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = Settings({"DISTILLERY_SECRET_A_B": "value-here", "HERE": "value-here"})
    kinds = [
        EnvironmentSecrets(settings),
        PodSecrets(settings, "support"),
        LocalSecrets(settings, ["a/b=env:HERE"]),
    ]
    assert [secrets.get("a", "b") for secrets in kinds] == ["value-here"] * 3
    parcels = [pickle.dumps(secrets) for secrets in kinds]
    assert not any(b"value-here" in parcel for parcel in parcels)
    monkeypatch.setenv("DISTILLERY_SECRET_A_B", "value-there")
    monkeypatch.setenv("HERE", "value-there")
    arrived = [pickle.loads(parcel) for parcel in parcels]
    assert [secrets.get("a", "b") for secrets in arrived] == ["value-there"] * 3
    assert [secrets.hide("value-there") for secrets in arrived] == ["***"] * 3
