"""The chart carries the generated CRDs, unchanged."""

from __future__ import annotations

from chart.rendering import CHART

CRDS = CHART.parents[1] / "crds"


def test_the_charts_crds_are_the_generated_ones() -> None:
    generated = {path.name: path.read_text() for path in CRDS.glob("*.yaml")}
    assert set(generated) == {
        "distillery.dev_distillationjobs.yaml",
        "distillery.dev_distillationprofiles.yaml",
    }
    assert {path.name: path.read_text() for path in (CHART / "crds").glob("*.yaml")} == generated
