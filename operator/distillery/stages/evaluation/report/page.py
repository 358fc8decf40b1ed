"""Renders report.html from the evidence: no script, no outside resource, everything escaped."""

from __future__ import annotations

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined

from distillery.stages.evaluation.evidence import Evidence
from distillery.stages.evaluation.report import figures, wording
from distillery.stages.evaluation.report.disagreements import disagreements
from distillery.stages.evaluation.report.provenance import facts
from distillery.stages.evaluation.report.slices import advice, slice_table

TEMPLATE = "page.html"


def render_report(evidence: Evidence) -> str:
    """Return the page as HTML."""
    metrics = evidence.metrics
    return (
        _environment()
        .get_template(TEMPLATE)
        .render(
            e=evidence,
            say=wording,
            headline=wording.headline(metrics),
            explanation=wording.explanation(evidence.verdict, metrics),
            hero=figures.hero(evidence),
            slices=slice_table(evidence),
            advice=advice(evidence),
            curve=figures.training_curve(evidence.training_log, evidence.training),
            dots=figures.reliability(metrics["calibration"]),
            confusion=figures.confusion(metrics["confusion"]),
            funnel=figures.funnel(evidence),
            apart=disagreements(evidence.rows, metrics["rowScore"]),
            facts=facts(evidence),
        )
    )


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("distillery.stages.evaluation.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
