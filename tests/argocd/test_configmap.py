"""The patch of Argo CD's ConfigMap carries exactly the Lua files."""

from __future__ import annotations

import sys
from typing import Any

from ruamel.yaml import YAML

import children
from argocd.argo import JOB, PROFILE, ROOT


def load(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text)


def test_the_committed_patch_is_what_the_lua_files_give() -> None:
    done = children.run([sys.executable, str(ROOT / "render.py")], capture_output=True, text=True, check=True)
    assert done.stdout == (ROOT / "argocd-cm.yaml").read_text()


def test_the_patch_holds_every_script_unchanged_and_nothing_else() -> None:
    patch = load((ROOT / "argocd-cm.yaml").read_text())
    prefix = "resource.customizations"
    actions = load(patch["data"].pop(f"{prefix}.actions.distillery.dev_DistillationJob"))
    assert patch == {
        "data": {
            f"{prefix}.health.distillery.dev_DistillationJob": (JOB / "health.lua").read_text(),
            f"{prefix}.health.distillery.dev_DistillationProfile": (PROFILE / "health.lua").read_text(),
        }
    }
    scripts = sorted((JOB / "actions").glob("*/action.lua"))
    assert actions == {
        "discovery.lua": (JOB / "actions/discovery.lua").read_text(),
        "definitions": [{"name": path.parent.name, "action.lua": path.read_text()} for path in scripts],
    }
