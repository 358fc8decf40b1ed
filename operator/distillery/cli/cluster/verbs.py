"""The verbs on the cluster and their options; each delegates at once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from distillery.cli.cluster.options import HERE, Cluster, NameArgument, takes_cluster
from distillery.cli.cluster.session import on_cluster
from distillery.stages.stage import STAGE_NAMES

if TYPE_CHECKING:
    from distillery.cli.cluster.access import Access
    from distillery.cli.cluster.standing import Verb

WaitOption = Annotated[bool, typer.Option("--wait", help="Until the operator has acted on it.")]
OutputOption = Annotated[str, typer.Option("--output", "-o", help="text or json.", metavar="FORMAT")]


@takes_cluster
def submit(
    file: Annotated[Path, typer.Argument(help="DistillationJob manifest (YAML).", metavar="FILE")],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Override a field: spec.budget.maxCost=20.", metavar="PATH=VALUE"),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the job to its end.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Let the API server check it; change nothing.")
    ] = False,
    force_conflicts: Annotated[
        bool, typer.Option("--force-conflicts", help="Take over fields that another tool manages.")
    ] = False,
    cluster: Cluster = HERE,
    output: OutputOption = "text",
) -> None:
    """Create or change a job on the cluster, after the same checks as `validate`.

    Exit status with --wait: that of `run`, but a review is waited for. Ctrl-C stops waiting; the job goes on.
    """
    from distillery.cli.invocation import check_output, read_manifest

    check_output(output)
    written = read_manifest(file, set_ or [])

    async def work(access: Access) -> int:
        from distillery.cli.cluster import submitting

        how = submitting.How(wait=wait, dry_run=dry_run, force=force_conflicts, output=output)
        return await submitting.submit(access, written, how)

    left = f"{written.job.metadata.name} goes on without you" if wait else ""
    raise typer.Exit(on_cluster(cluster, work, left))


@takes_cluster
def logs(
    name: NameArgument,
    stage: Annotated[
        str | None, typer.Option("--stage", help=f"One of {', '.join(STAGE_NAMES)}.", metavar="STAGE")
    ] = None,
    attempt: Annotated[
        int | None, typer.Option("--attempt", min=1, help="Default: the newest.", metavar="NUMBER")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the pod ends.")] = False,
    cluster: Cluster = HERE,
) -> None:
    """Print what the head pod of a stage's newest attempt says, while the pod is there."""
    from distillery.cli.invocation import check_stage

    if stage is not None:
        check_stage("--stage", stage)

    async def work(access: Access) -> None:
        from distillery.cli.cluster.logs import print_logs

        await print_logs(access, name, stage, attempt, follow=follow)

    on_cluster(cluster, work)


@takes_cluster
def cost(
    name: NameArgument,
    cluster: Cluster = HERE,
    output: OutputOption = "text",
) -> None:
    """Show what a job on the cluster has cost: money, and GPU hours by attempt."""
    from distillery.cli.invocation import check_output

    check_output(output)

    async def work(access: Access) -> None:
        from distillery.cli.cluster.looking import show_cost

        await show_cost(access, name, output)

    on_cluster(cluster, work)


@takes_cluster
def suspend(
    name: NameArgument,
    wait: WaitOption = False,
    cluster: Cluster = HERE,
) -> None:
    """Suspend a job on the cluster: what runs saves its state and gives its pods back."""
    _request(name, "suspend", wait, cluster)


@takes_cluster
def resume(
    name: NameArgument,
    wait: WaitOption = False,
    cluster: Cluster = HERE,
) -> None:
    """Let a suspended job go on from its last checkpoint."""
    _request(name, "resume", wait, cluster)


@takes_cluster
def cancel(
    name: NameArgument,
    wait: WaitOption = False,
    cluster: Cluster = HERE,
) -> None:
    """End a job; the object, its status and its artifacts stay, and `retry` starts it again."""
    _request(name, "cancel", wait, cluster)


@takes_cluster
def retry(
    name: NameArgument,
    wait: WaitOption = False,
    cluster: Cluster = HERE,
) -> None:
    """Try again after a failure or a cancellation: earlier failures no longer count."""
    _request(name, "retry", wait, cluster)


@takes_cluster
def rerun(
    name: NameArgument,
    stage: Annotated[str, typer.Argument(help=f"One of {', '.join(STAGE_NAMES)}.", metavar="STAGE")],
    wait: WaitOption = False,
    cluster: Cluster = HERE,
) -> None:
    """Run a stage again, and those after it whose inputs change by it, although the spec has not changed."""
    from distillery.cli.invocation import check_stage

    check_stage("STAGE", stage)

    async def work(access: Access) -> None:
        from distillery.cli.cluster.controlling import rerun_stage

        await rerun_stage(access, name, stage, wait=wait)

    on_cluster(cluster, work)


@takes_cluster
def approve(
    name: NameArgument,
    wait: WaitOption = False,
    cluster: Cluster = HERE,
) -> None:
    """Approve the filter's review sample that a job waits for."""

    async def work(access: Access) -> None:
        from distillery.cli.cluster.controlling import approve_review

        await approve_review(access, name, wait=wait)

    on_cluster(cluster, work)


VERBS = (submit, logs, cost, suspend, resume, cancel, retry, rerun, approve)


def _request(name: str, verb: Verb, wait: bool, cluster: Cluster) -> None:
    async def work(access: Access) -> None:
        from distillery.cli.cluster.controlling import ask

        await ask(access, name, verb, wait=wait)

    on_cluster(cluster, work)
