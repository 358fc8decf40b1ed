"""What docs say about profiles, values, metrics and actions is what there is."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic.alias_generators import to_snake
from ruamel.yaml import YAML
from typer.testing import CliRunner

import distillery
from argocd.argo import JOB
from chart.rendering import CHART
from distillery.api.v1alpha1.conditions import Reason
from distillery.api.v1alpha1.distillation_profile import DistillationProfile, ProfileSpec
from distillery.cli.app import app
from distillery.controller.telemetry import Metrics
from distillery.manifests.rayjob import pod_problems
from distillery.manifests.templates import CONTAINER_FIELDS, POD_FIELDS
from distillery.planning.profile import BuiltinProfile, resolve
from distillery.stages.versions import READERS

DOCS = CHART.parents[1] / "docs"
PACKAGE = Path(distillery.__file__).parent
runner = CliRunner()


def blocks(page: str) -> list[Any]:
    """Return the YAML documents that a page shows."""
    found = re.findall(r"^```yaml\n(.*?)^```", (DOCS / page).read_text(), re.DOTALL | re.MULTILINE)
    return [YAML(typ="safe", pure=True).load(text) for text in found]


@pytest.mark.parametrize("page", ["install.md", "profiles.md"])
def test_each_profile_that_is_shown_is_valid(page: str) -> None:
    shown = [block for block in blocks(page) if block.get("kind") == "DistillationProfile"]
    assert len(shown) == 1
    assert DistillationProfile.model_validate(shown[0]).spec.image is not None


def test_each_part_of_a_profile_that_is_shown_is_valid() -> None:
    parts = [block for block in blocks("profiles.md") if "kind" not in block]
    assert len(parts) == 2
    for part in parts:
        profile = resolve(
            DistillationProfile.model_validate({"metadata": {"name": "shown"}, "spec": part}),
            BuiltinProfile(image="registry.example.com/distillery-worker:0.1.0"),
        )
        assert pod_problems(profile) == []


def test_what_a_pod_template_may_set_is_listed() -> None:
    listed = (
        (DOCS / "profiles.md").read_text().partition("A template may set")[2].partition("Anything else")[0]
    )
    named = set(re.findall(r"`([A-Za-z]+)`", listed))
    assert named == {*POD_FIELDS, *CONTAINER_FIELDS, "metadata"} - {"containers", "name"}


def test_every_reason_is_explained() -> None:
    page = (DOCS / "operator.md").read_text()
    assert [reason.value for reason in Reason if f"`{reason.value}`" not in page] == []
    pages = page + "".join(path.read_text() for path in sorted((DOCS / "stages").glob("*.md")))
    calls = [
        node
        for path in sorted(PACKAGE.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "StageFailed"
    ]
    named = {str(call.args[0].value) for call in calls if isinstance(call.args[0], ast.Constant)}
    assert len(named) > 20
    assert {name for name in named if f"`{name}`" not in pages} == set()


def test_the_values_that_install_names_exist() -> None:
    values = YAML(typ="safe", pure=True).load(CHART / "values.yaml")
    table = (DOCS / "install.md").read_text().partition("| value | meaning |")[2].partition("\n\n")[0]
    named = [name for row in table.splitlines()[2:] for name in re.findall(r"`([^`]+)`", row.split("|")[1])]
    assert len(named) >= 6
    for name in named:
        place = values
        for part in name.split("."):
            assert part in place, name
            place = place[part]


def test_the_metrics_are_those_that_are_listed() -> None:
    served = {
        line.split()[2]
        for line in Metrics().text().decode().splitlines()
        if line.startswith("# TYPE distillery_")
    }
    page = (DOCS / "operator.md").read_text()
    assert set(re.findall(r"`(distillery_\w+)`", page)) == {
        name for name in served if not name.endswith("_created")
    }


def test_every_action_is_described() -> None:
    table = (DOCS / "gitops.md").read_text().partition("| action | offered |")[2].partition("\n\n")[0]
    named = set(re.findall(r"`([a-z-]+)`", table))
    defined = {path.parent.name for path in (JOB / "actions").glob("*/action.lua")}
    assert {name for name in defined if not name.startswith("rerun-")} <= named
    assert {"rerun-dataset", "rerun-evaluation"} <= named


def test_what_the_page_on_upgrades_names_exists() -> None:
    page = (DOCS / "upgrade.md").read_text()
    commands = re.findall(r"^ *(kubectl|helm) (.*?)(?<!\\\\)$", page, re.DOTALL | re.MULTILINE)
    assert [program for program, _ in commands] == ["kubectl", "helm", "kubectl"]
    values = YAML(typ="safe", pure=True).load(CHART / "values.yaml")
    for name in ["workerImage", *re.findall(r"--set-string ([A-Za-z.]+)=", page)]:
        place = values
        for part in name.split("."):
            assert part in place, name
            place = place[part]
    for path in re.findall(r"charts/[a-z/]+", page):
        assert (CHART.parents[1] / path).exists(), path
    for link in re.findall(r"\]\(([^)#]+)", page):
        assert (DOCS / link).exists(), link
    for field in re.findall(r"`spec\.([a-zA-Z]+)`", page):
        assert to_snake(field) in ProfileSpec.model_fields, field
    definition = YAML(typ="safe", pure=True).load(CHART / "crds/distillery.dev_distillationprofiles.yaml")
    assert f"kubectl get {definition['spec']['names']['plural']} " in page
    assert runner.invoke(app, ["--version"]).exit_code == 0
    reasons = set(re.findall(r"`([A-Z][A-Za-z]+)`", page))
    assert reasons <= {*(reason.value for reason in Reason), "ArtifactTooNew"}


def test_every_version_of_an_assignment_is_listed_with_the_workers_that_read_it() -> None:
    table = (
        (DOCS / "upgrade.md").read_text().partition("| version of an assignment |")[2].partition("\n\n")[0]
    )
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in table.splitlines()[2:]]
    assert {int(version): release for version, release in rows} == READERS


@pytest.mark.parametrize("page", ["docs/install.md", "README.md"])
def test_the_page_on_upgrades_is_found(page: str) -> None:
    assert "upgrade.md)" in (CHART.parents[1] / page).read_text()
