"""Following a job until it ends, in the view that `distillery run` has."""

from __future__ import annotations

import sys
from contextlib import aclosing

from distillery.api.v1alpha1.status import Status
from distillery.cli.cluster.access import Access
from distillery.cli.cluster.ending import End, end_of, remark, status_in
from distillery.cli.exit_codes import ExitCode
from distillery.cli.places import ClusterPlace
from distillery.cli.views import View, view_for
from distillery.errors import DistilleryError
from distillery.kube.client import Object
from distillery.kube.resources import DISTILLATION_JOBS


async def follow(access: Access, job: Object, output: str) -> ExitCode:
    """Show a job until it ends and return the exit status of that end.

    Lost connections are survived. Raises: DistilleryError if the object is deleted.
    """
    place = ClusterPlace(job["metadata"]["name"], access.flags)
    view = view_for(output, place, sys.stdout)
    with view:
        status, end = await _until_end(access, job, view)
    view.finish(status, end.message, end.code)
    return end.code


async def _until_end(access: Access, job: Object, view: View) -> tuple[Status, End]:
    name, uid = job["metadata"]["name"], job["metadata"]["uid"]
    said = ""
    async with aclosing(access.kube.watch(DISTILLATION_JOBS, access.namespace, name=name)) as events:
        async for kind, item in events:
            if kind == "DELETED" or item["metadata"]["uid"] != uid:
                raise DistilleryError(f"{name} was deleted in the meantime")
            status = status_in(item)
            end = end_of(status, item["metadata"]["generation"])
            view.update(status, None)
            if end is not None:
                return status, end
            if (news := remark(status)) and news != said:
                view.note(news)
                said = news
    raise AssertionError("a watch never ends by itself")
