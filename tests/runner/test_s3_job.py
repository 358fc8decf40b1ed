"""A job whose inputs, artifacts, answers and release all live in an S3 bucket."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from distillery.api.yaml import load_yaml
from distillery.artifacts.opening import open_location
from distillery.artifacts.store import ObjectStore
from tiny_job import Bench, make_bench, teacher_process

ENDPOINT = os.environ.get("DISTILLERY_TEST_S3_ENDPOINT", "")
BUCKET = os.environ.get("DISTILLERY_TEST_S3_BUCKET", "")
KEYS = {
    "AWS_ACCESS_KEY_ID": os.environ.get("DISTILLERY_TEST_S3_ACCESS_KEY", ""),
    "AWS_SECRET_ACCESS_KEY": os.environ.get("DISTILLERY_TEST_S3_SECRET_KEY", ""),
}
pytestmark = [
    pytest.mark.s3,
    pytest.mark.timeout(400),
    pytest.mark.skipif(not ENDPOINT, reason="run by make e2e-s3"),
]


class Keys:
    """The server's keys under every name."""

    def get(self, name: str, key: str) -> str:
        return KEYS[key]

    def optional(self, name: str, key: str) -> str | None:
        return KEYS.get(key)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bill = tmp_path / "bill.jsonl"
    with teacher_process(bill) as url:
        bench = make_bench(tmp_path / "bench", url, bill)
        prefix = f"s3://{BUCKET}/{uuid.uuid4().hex}"
        store_at(prefix).upload("logs/tickets.jsonl", bench.tickets)
        dataset: dict[str, Any] = bench.manifest()["spec"]["dataset"]
        dataset["sources"] = [{"uri": f"{prefix}/logs/*.jsonl"}]
        bench.write_job(dataset=dataset, storage=storage(prefix))
        bench.environment = {f"DISTILLERY_SECRET_S3_{key}": value for key, value in KEYS.items()}
        yield bench


def storage(uri: str) -> dict[str, Any]:
    return {"uri": uri, "endpoint": ENDPOINT, "credentialsSecret": "s3"}


def store_at(uri: str) -> ObjectStore:
    return open_location(uri, ENDPOINT, "s3", Keys())


def test_a_job_on_s3_runs_to_a_release_and_is_adopted_by_an_empty_workdir(bench: Bench) -> None:
    done = bench.run()
    assert done.code == 0, done.out + done.err
    store = store_at(bench_prefix(bench))
    version = done.status["release"]["version"]
    assert store.stat(f"models/router/{version}/model/model.safetensors") is not None
    assert not (bench.workdir / "store").exists()
    billed = len(bench.billed())
    written = [path for path in bench.folder.rglob("*") if path.is_file() and holds_key(path)]
    assert written == []
    assert KEYS["AWS_SECRET_ACCESS_KEY"] not in done.out + done.err
    shutil.rmtree(bench.workdir)
    again = bench.run()
    assert again.code == 0, again.out + again.err
    assert again.ran == []
    assert len(bench.billed()) == billed


def test_a_wrong_bucket_or_key_is_explained(bench: Bench) -> None:
    lost = bench.run("--set", "spec.storage.uri=s3://no-such-bucket/models", "--until", "dataset")
    assert lost.code == 1
    assert "no-such-bucket" in lost.err + lost.out
    bench.environment["DISTILLERY_SECRET_S3_AWS_SECRET_ACCESS_KEY"] = "wrong-4711-secret"
    refused = bench.run("--until", "dataset")
    assert refused.code == 1
    assert "AWS_SECRET_ACCESS_KEY of the secret s3" in refused.err + refused.out
    assert "wrong-4711-secret" not in refused.err + refused.out


def bench_prefix(bench: Bench) -> str:
    uri: str = load_yaml(bench.job.read_bytes(), "job.yaml")["spec"]["storage"]["uri"]
    return uri


def holds_key(path: Path) -> bool:
    return KEYS["AWS_SECRET_ACCESS_KEY"].encode() in path.read_bytes()
