"""A cluster on loopback with our kinds and nothing in it, except that one kind's lists and watches follow a script."""

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

from distillery.kube.resources import (
    CONFIG_MAPS,
    DISTILLATION_JOBS,
    DISTILLATION_PROFILES,
    NAMESPACES,
    PODS,
    RAY_CLUSTERS,
    RAY_JOBS,
    Resource,
)
from kube.api_double import kubeconfig_for, says

# Kopf waits until it knows the namespaces.
KINDS = (NAMESPACES, DISTILLATION_JOBS, DISTILLATION_PROFILES, RAY_JOBS, RAY_CLUSTERS, PODS, CONFIG_MAPS)
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class WatchDouble:
    """Answers as scripted, one after the other; then lists are empty and watches say nothing until they are closed."""

    def __init__(self) -> None:
        self.lists: dict[str, list[Answer]] = defaultdict(list)
        self.watches: dict[str, list[Answer]] = defaultdict(list)
        self.discovery: list[Answer] = []
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.tokens: list[str] = []

    def script(self, resource: Resource, *, lists: list[Answer] = (), watches: list[Answer] = ()) -> None:
        self.lists[resource.path()] += lists
        self.watches[resource.path()] += watches

    def queries(self, resource: Resource, watch: bool) -> list[dict[str, str]]:
        return [
            query for path, query in self.asked if path == resource.path() and ("watch" in query) == watch
        ]

    async def answer(self, request: web.Request) -> web.StreamResponse:
        path, query = request.path, dict(request.query)
        self.asked.append((path, query))
        self.tokens.append(request.headers.get("Authorization", ""))
        if path in {resource.path() for resource in KINDS}:
            if "watch" in query:
                return await (self.watches[path].pop(0) if self.watches[path] else silence)(request)
            empty = says({"kind": "L", "apiVersion": "v1", "items": [], "metadata": {"resourceVersion": "7"}})
            return await (self.lists[path].pop(0) if self.lists[path] else empty)(request)
        return await (self.discovery.pop(0) if self.discovery else _discovery)(request)


async def _discovery(request: web.Request) -> web.Response:
    groups: dict[str, list[Resource]] = defaultdict(list)
    for resource in KINDS:
        groups[f"/apis/{resource.group}/{resource.version}" if resource.group else "/api/v1"].append(resource)
    if request.path == "/api":
        return web.json_response({"versions": ["v1"]})
    if request.path == "/apis":
        found = [
            {
                "name": resource.group,
                "versions": [{"version": resource.version}],
                "preferredVersion": {"version": resource.version},
            }
            for resource in (DISTILLATION_JOBS, RAY_JOBS)
        ]
        return web.json_response({"groups": found})
    if request.path not in groups:
        return web.json_response({"kind": "Status", "code": 404}, status=404)
    resources = [
        {
            "name": resource.plural,
            "kind": resource.kind,
            "singularName": resource.kind.lower(),
            "namespaced": resource.namespaced,
            "verbs": ["list", "watch", "get", "patch"],
        }
        for resource in groups[request.path]
    ]
    return web.json_response({"resources": resources})


async def silence(request: web.Request) -> web.StreamResponse:
    """A watch without events."""
    response = web.StreamResponse()
    await response.prepare(request)
    await asyncio.sleep(60)
    return response


def raw_lines(*lines: bytes, then_silent: bool = False) -> Answer:
    """A watch that says this and ends, in order, or goes on in silence."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for line in lines:
            await response.write(line)
        if then_silent:
            await asyncio.sleep(60)
        await response.write_eof()
        return response

    return answer


def event(kind: str, item: object) -> bytes:
    return json.dumps({"type": kind, "object": item}).encode() + b"\n"


@asynccontextmanager
async def serving(double: WatchDouble, folder: Path) -> AsyncIterator[str]:
    """Serve it and give a kubeconfig."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", double.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    kubeconfig = folder / "kubeconfig"
    kubeconfig.write_text(json.dumps(kubeconfig_for(f"http://{host}:{port}")))
    try:
        yield str(kubeconfig)
    finally:
        await runner.cleanup()
