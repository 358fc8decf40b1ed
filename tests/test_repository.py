"""What a reader of the repository expects to be true of it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    page
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("*/**/README.md")]
    if ".venv" not in page.parts
]


def test_every_link_between_pages_leads_somewhere() -> None:
    dead = [
        f"{page.relative_to(ROOT)} → {target}"
        for page in PAGES
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text())
        if "://" not in target and not (page.parent / target.partition("#")[0]).exists()
    ]
    assert dead == []


def test_the_page_on_architecture_names_files_that_exist() -> None:
    page = (ROOT / "docs/architecture.md").read_text()
    named = set(re.findall(r"`([\w*/.]+/[\w*]+\.py)`", page))
    assert named
    assert [name for name in sorted(named) if not any((ROOT / "operator/distillery").glob(name))] == []


def test_package_and_chart_are_of_one_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    chart = yaml.safe_load((ROOT / "charts/distillery/Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (project["version"], project["version"])


def test_every_requirement_is_pinned_by_a_hash() -> None:
    for file in ROOT.glob("requirements/*.txt"):
        blocks = re.split(r"\n(?=\S)", file.read_text().strip())
        loose = [
            block.splitlines()[0] for block in blocks if "==" not in block or "--hash=sha256:" not in block
        ]
        assert loose == [], file.name
