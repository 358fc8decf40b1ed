"""The verbs that look at a job of the cluster: status and cost."""

from __future__ import annotations

import json
import sys

from distillery.cli.cluster.access import Access
from distillery.cli.cluster.ending import status_in
from distillery.cli.cluster.following import follow
from distillery.cli.cluster.recorded import recorded_attempts
from distillery.cli.exit_codes import ExitCode
from distillery.cli.places import ClusterPlace
from distillery.cli.show import print_status
from distillery.cli.tables import amount
from distillery.planning.control import timestamp
from distillery.planning.record import AttemptRecord


async def show_job(access: Access, name: str, output: str, *, watch: bool) -> ExitCode:
    """Print the status of a job; with `watch` until it ends, and return how."""
    job = await access.job(name)
    if watch:
        return await follow(access, job, output)
    status = status_in(job)
    print_status(status, output, ClusterPlace(name, access.flags))
    generation = job["metadata"]["generation"]
    if status.observed_generation < generation:
        print(f"note: the operator has not looked at generation {generation} yet", file=sys.stderr)
    return ExitCode.COMPLETE


async def show_cost(access: Access, name: str, output: str) -> None:
    """Print a job's money, and the GPU hours of its attempts where the record may be read."""
    job = await access.job(name)
    cost = status_in(job).cost
    attempts, missing = await recorded_attempts(access, job)
    if output == "json":
        entries = [
            {
                "stage": entry.stage,
                "attempt": entry.attempt,
                "gpus": entry.gpus,
                "gpuHours": round(entry.gpu_seconds / 3600, 4),
                "startTime": timestamp(entry.started_at),
                "completionTime": None if entry.ended_at is None else timestamp(entry.ended_at),
            }
            for entry in attempts
        ]
        print(json.dumps({**cost.to_wire(), "attempts": entries}, indent=1))
    else:
        print(f"estimated  {amount(cost.estimated, cost.currency)}")
        print(f"spent      {amount(cost.spent, cost.currency)}")
        if cost.unknown:
            print(f"unknown    at most {amount(cost.unknown, cost.currency)} for calls lost in a crash")
        print(f"budget     {amount(cost.budget, cost.currency)}")
        if cost.gpu_hours is not None:
            print(f"GPU hours  {cost.gpu_hours:.2f}")
        for entry in attempts:
            print(_attempt_line(entry))
    if missing:
        print(f"note: no attempts are shown: {missing}", file=sys.stderr)


def _attempt_line(entry: AttemptRecord) -> str:
    hours = f"{entry.gpu_seconds / 3600:.2f} GPU hours on {entry.gpus} GPUs" if entry.gpus else "no GPU"
    state = "" if entry.ended_at is not None else ", not ended"
    return f"  {entry.stage:<11} attempt {entry.attempt:<3} {hours}{state}"
