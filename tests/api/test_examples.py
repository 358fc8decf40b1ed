from __future__ import annotations

import json
from pathlib import Path

import pytest

from distillery.api.relative import unreachable_files
from distillery.api.validation import load_job
from distillery.api.yaml import load_yaml

EXAMPLES = Path(__file__).parents[2] / "examples"
MANIFESTS = sorted(EXAMPLES.rglob("*.yaml"))


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.relative_to(EXAMPLES).as_posix())
def test_an_example_is_valid(path: Path) -> None:
    assert load_job(path.read_bytes(), file=path.name).metadata.name


def test_the_example_for_a_cluster_says_where_pods_find_everything() -> None:
    data = (EXAMPLES / "cluster" / "job.yaml").read_bytes()
    job = load_job(data, file="job.yaml")
    assert job.spec.storage is not None
    assert job.spec.storage.credentials_secret is not None
    assert job.metadata.namespace != "default"
    assert unreachable_files(load_yaml(data, "job.yaml")["spec"]) == []


def test_the_tickets_have_the_columns_and_labels_of_their_manifest() -> None:
    spec = load_job((EXAMPLES / "tickets.yaml").read_bytes(), file="tickets.yaml").spec
    rows = [
        json.loads(line) for line in (EXAMPLES / "data" / "tickets.jsonl").read_text("utf-8").splitlines()
    ]
    assert {row["category"] for row in rows} == set(spec.task.output.labels or ())
    assert {tuple(row) for row in rows} == {("id", "text", "lang", "category")}
    assert len({row["text"] for row in rows}) == len({row["id"] for row in rows}) == len(rows) == 120


def test_the_manifest_in_the_readme_is_valid() -> None:
    readme = (EXAMPLES.parent / "README.md").read_text(encoding="utf-8")
    manifest = readme.partition("```yaml\n")[2].partition("```")[0]
    assert load_job(manifest.encode(), file="README.md").metadata.name == "ticket-routing"
