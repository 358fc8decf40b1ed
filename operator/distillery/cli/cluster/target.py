"""What `status` is asked about: the workdir of a local run, or a job on the cluster."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from distillery.cli.cluster.options import Cluster
from distillery.cli.cluster.session import NotReached, on_cluster
from distillery.cli.invocation import check_output
from distillery.cli.show import STATUS_OUTPUTS, show_status
from distillery.errors import Problem, SpecError

if TYPE_CHECKING:
    from distillery.cli.cluster.access import Access


def show_target(target: str, cluster: Cluster, output: str, *, watch: bool) -> int:
    """Print the status that is meant and return the exit status. Raises: SpecError, DistilleryError."""
    path = Path(target)
    if not cluster.given and ("/" in target or path.exists()):
        if watch:
            repair = f"for a job of the cluster add -n NAMESPACE; a local run shows itself: see {target}/logs"
            raise SpecError(Problem("--watch", f"{target} is the workdir of a local run", repair))
        show_status(path, output)
        return 0
    check_output(output, STATUS_OUTPUTS[:2] if watch else STATUS_OUTPUTS)

    async def work(access: Access) -> int:
        from distillery.cli.cluster.looking import show_job

        return await show_job(access, target, output, watch=watch)

    try:
        return on_cluster(cluster, work)
    except NotReached as error:
        if cluster.given:
            raise
        raise NotReached(f"{target} is no folder here, and as a job on the cluster: {error}") from None
