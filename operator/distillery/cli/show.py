"""The verbs that look but do not run: status, validate, plan, estimate, prune."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from distillery.api.dumping import dump_yaml
from distillery.api.sizes import small_workers
from distillery.api.v1alpha1.distillation_job import DistillationJob
from distillery.api.v1alpha1.distillation_profile import DistillationProfile
from distillery.api.v1alpha1.status import Status
from distillery.cli.invocation import Invocation, changes_in, check_output, is_profile, job_in, read_file
from distillery.cli.places import LocalPlace, Place
from distillery.cli.tables import amount, gate_line, result_lines, status_table, trouble_beside
from distillery.errors import Problem, SpecError
from distillery.runner.workdir import Workdir, read_status

STATUS_OUTPUTS = ("text", "json", "yaml")


def show_status(folder: Path, output: str) -> None:
    """Print the status that a run keeps in its workdir."""
    check_output(output, STATUS_OUTPUTS)
    status = read_status(folder)
    if status is None:
        repair = "name the workdir of a run (.distillery/<name>)"
        if len(folder.parts) == 1:
            repair += ", or add -n NAMESPACE if you mean the job of that name on the cluster"
        raise SpecError(Problem(str(folder), "holds no status.yaml", repair))
    print_status(status, output, LocalPlace(folder))


def print_status(status: Status, output: str, place: Place) -> None:
    """Print a status as text, JSON or YAML."""
    if output == "json":
        print(json.dumps(status.to_wire(), indent=1, ensure_ascii=False))
        return
    if output == "yaml":
        print(dump_yaml(status.to_wire()), end="")
        return
    from rich.console import Console

    console = Console(highlight=False)
    console.print(f"{status.phase}: {status.progress.message}", markup=False)
    console.print(status_table(status))
    if trouble := trouble_beside(status):
        console.print(trouble, markup=False)
    for gate in status.evaluation.gates if status.evaluation else []:
        console.print(gate_line(gate), markup=False)
    for line in result_lines(status, place):
        print(line)  # an address stays in one piece, for whoever copies it or reads it through a pipe


def show_valid(file: Path, overrides: Sequence[str], output: str) -> None:
    """Print that a manifest of a job or a profile is valid; its mistakes are raised."""
    check_output(output)
    text = read_file(file)
    valid: DistillationJob | DistillationProfile
    if is_profile(text, file):
        from distillery.cli.profiles import load_profile

        valid = load_profile(text, file, changes_in(overrides))
    else:
        valid = job_in(text, file, overrides)
        print_warnings(file, valid)
    if output == "json":
        print(json.dumps(valid.model_dump(mode="json", by_alias=True, exclude_none=True), indent=1))
    else:
        print(f"{file}: {valid.kind} {valid.metadata.name} is valid")


def print_warnings(file: Path, job: DistillationJob) -> None:
    """Say on standard error what of a valid job is likely to go wrong."""
    for problem in small_workers(job.spec):
        print(f"{file}: warning: {problem}", file=sys.stderr)


def show_plan(invocation: Invocation) -> None:
    """Print for every stage whether it would run, and why."""
    from distillery.planning.frontier import frontier_of
    from distillery.runner.local import LocalRun

    workdir = Workdir(invocation.folder, create=False)
    run = LocalRun(invocation.job, workdir, invocation.secrets, lambda status, report: None)
    observed, _ = run.look()
    frontier = frontier_of(run.plan, observed)
    done = {outcome.stage: outcome for outcome in frontier.done}
    rows = []
    for stage_run in run.plan.runs:
        outcome = done.get(stage_run.stage)
        if outcome is not None:
            action, why = "reuse", f"artifact {outcome.identity[:12]} is complete"
        elif frontier.run is not None and stage_run.stage == frontier.run.stage:
            identity = (frontier.identity or "")[:12]
            action, why = "run", f"no complete artifact {identity} in {run.store.uri}"
        else:
            assert frontier.run is not None
            action = "run, unless unchanged"
            why = f"depends on what {frontier.run.stage} produces"
        rows.append({"stage": stage_run.stage, "action": action, "why": why})
    if invocation.output == "json":
        print(json.dumps({"stages": rows}, indent=1))
        return
    for row in rows:
        print(f"{row['stage']:<11} {row['action']:<22} {row['why']}")


def show_estimate(invocation: Invocation) -> None:
    """Print lower, expected and upper bound of the teacher's bill."""
    from distillery.runner.estimating import estimate_job

    estimate = estimate_job(invocation.job, invocation.folder, invocation.secrets)
    if invocation.output == "json":
        print(json.dumps(estimate.to_wire(), indent=1))
        return
    currency = invocation.job.spec.budget.currency
    print(f"{estimate.questions} answers wanted, {estimate.cached} already bought, {estimate.calls} to buy")
    if invocation.job.spec.teacher.pricing is None:
        print("no cost: spec.teacher.pricing is not set", file=sys.stderr)
        return
    for name, value in (
        ("at least", estimate.lower),
        ("expected", estimate.expected),
        ("at most", estimate.upper),
    ):
        print(f"{name:<10} {amount(value, currency)}")


def prune_store(invocation: Invocation, older_than: float, *, dry_run: bool) -> None:
    """Remove leftovers and list them."""
    import time

    from distillery.artifacts.pruning import prune
    from distillery.runner.local import store_of

    store = store_of(invocation.job, invocation.folder, invocation.secrets)
    removed = prune(store, time.time(), older_than_days=older_than, dry_run=dry_run)
    for key in removed:
        print(key)
    print(f"{len(removed)} objects {'would be ' if dry_run else ''}removed from {store.uri}", file=sys.stderr)
