"""Whether the test rows have the references that the gates will compare with. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from distillery.errors import Problem, SpecError
from distillery.stages.dataset.coverage import THIN_ROWS
from distillery.stages.dataset.inputs import TableRow
from distillery.stages.dataset.spec import JudgedOn


def check_references(test: Sequence[TableRow], judged_on: JudgedOn) -> str | None:
    """Return a warning if the gates will rest on few of the test rows, or None.

    Raises: SpecError if they need references and no test row has one: no labels could make up for that.
    """
    known = sum(row["reference"] is not None for row in test)
    if judged_on == "references" and not known:
        message = (
            f"spec.evaluation.gates compare with references, but none of the {len(test):,} test rows has one"
        )
        repair = "give test rows their known answers, or change the gates"
        raise SpecError(Problem("spec.dataset.reference", message, repair))
    if judged_on == "agreement" or not 0 < known < min(THIN_ROWS, len(test)):
        return None
    return (
        f"only {known} of {len(test):,} test rows have a reference, too few for the gates, which compare with "
        "references alone: add some, or set spec.evaluation.gates.retention.basis to teacher"
    )
