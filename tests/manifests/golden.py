"""The golden files: every rendered object as YAML. `python tests/manifests/golden.py` rewrites them."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

FOLDER = Path(__file__).parent / "golden"


def golden_objects() -> dict[str, Any]:
    """Return what each golden file holds, by its name."""
    from distillery.manifests import configmap, rbac
    from distillery.manifests.names import snapshot_name
    from manifests.rendering import CASES, FULL, PLAIN, REF, make_assignment, make_spec, name_of

    assignment = make_assignment("student", make_spec(student={"workers": {"replicas": 2}}))
    return {f"rayjob-{case.name}": case.render() for case in CASES} | {
        "configmap-record": configmap.record_map(REF),
        "configmap-reports": configmap.reports_map(REF),
        "configmap-profile": configmap.snapshot_map(REF, snapshot_name(REF, 3), FULL, {"dataset": "0a1b"}),
        "configmap-assignment": configmap.assignment_map(REF, name_of("student"), assignment),
        "serviceaccount": rbac.service_account(REF),
        "role": rbac.role(REF),
        "rolebinding": rbac.role_binding(REF, rbac.account_of(REF, PLAIN)),
        "rolebinding-full": rbac.role_binding(REF, rbac.account_of(REF, FULL)),
    }


def dump(value: Any) -> str:
    """Return YAML for reviewers: no anchors, keys in the order of the code."""
    yaml = YAML()
    yaml.default_flow_style = False
    yaml.width = 110
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.representer.ignore_aliases = lambda data: True
    stream = io.StringIO()
    yaml.dump(value, stream)
    return stream.getvalue()


def main() -> None:
    for path in FOLDER.glob("*.yaml"):
        path.unlink()
    for name, value in golden_objects().items():
        (FOLDER / f"{name}.yaml").write_text(dump(value))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    main()
