"""Reports as the operator takes them: written by pods of a tenant, so checked before they are believed. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import ValidationError

from distillery.planning.record import AttemptRecord
from distillery.planning.status import check_presentable
from distillery.stages.report import Report

MAX_REPORT_BYTES = 8 * 1024


def accept_reports(
    data: Mapping[str, str], entries: Mapping[str, AttemptRecord]
) -> tuple[dict[str, Report], list[str]]:
    """Return the reports that belong to recorded attempts, by key, and a complaint for each one that is ignored."""
    accepted: dict[str, Report] = {}
    complaints: list[str] = []
    for key, text in data.items():
        entry = entries.get(key)
        if entry is None:
            complaints.append(f"report {key[:64]!r} is ignored: there is no such attempt")
            continue
        found = _accept(text, entry)
        if isinstance(found, Report):
            accepted[key] = found
        else:
            complaints.append(f"report {key} is ignored: {found}")
    return accepted, complaints


def newer(report: Report, known: Report) -> bool:
    """Say whether a report is at least as new as one that was already seen."""
    return (report.incarnation, report.sequence) >= (known.incarnation, known.sequence)


def _accept(text: str, entry: AttemptRecord) -> Report | str:
    """Return the report, or why it is none."""
    size = len(text.encode())
    if size > MAX_REPORT_BYTES:
        return f"{size} bytes, at most {MAX_REPORT_BYTES} are read"
    try:
        report = Report.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc'])) or 'text'}: {first['msg']}"[:200]
    if (report.stage, report.attempt, report.recipe) != (entry.stage, entry.attempt, entry.recipe):
        return f"it describes {report.stage} attempt {report.attempt} of another recipe or attempt"
    result = report.result
    if result is not None and (result.stage != entry.stage or entry.identity not in (None, result.identity)):
        return f"its result is that of {result.stage} {result.identity[:12]}"
    try:
        check_presentable(report)
    except (ValueError, TypeError) as error:
        told = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        return f"it cannot be shown: {told}"[:200]
    return report
