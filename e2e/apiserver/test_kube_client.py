"""The client against a real API server: what a scripted double cannot prove."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from distillery.api.yaml import load_yaml
from distillery.errors import TransientError
from distillery.kube.client import Kube
from distillery.kube.errors import Exists, Expired, Forbidden, NotFound, Stale, Unavailable, Unusable
from distillery.kube.resources import (
    CONFIG_MAPS,
    DISTILLATION_JOBS,
    PODS,
    RAY_JOBS,
    SERVICE_ACCOUNTS,
    Resource,
)
from distillery.kube.watching import Watching
from kube.apiserver import ApiServer, kubectl, managers, until

pytestmark = [pytest.mark.kube, pytest.mark.timeout(300)]


def config_map(namespace: str, name: str, **data: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": namespace}, "data": data}


def test_an_object_is_created_read_replaced_patched_and_deleted(apiserver: ApiServer, namespace: str) -> None:
    async def scene(kube: Kube) -> None:
        made = await kube.create(CONFIG_MAPS, config_map(namespace, "m", a="1"))
        with pytest.raises(Exists):
            await kube.create(CONFIG_MAPS, config_map(namespace, "m", a="2"))
        assert await kube.get(CONFIG_MAPS, "m", namespace) == made
        replaced = await kube.replace(CONFIG_MAPS, {**made, "data": {"a": "3"}})
        with pytest.raises(Stale):
            await kube.replace(CONFIG_MAPS, {**made, "data": {"a": "4"}})
        version = {"metadata": {"resourceVersion": made["metadata"]["resourceVersion"]}}
        with pytest.raises(Stale):
            await kube.merge(CONFIG_MAPS, "m", {**version, "data": {"b": "5"}}, namespace)
        fresh = {"metadata": {"resourceVersion": replaced["metadata"]["resourceVersion"]}}
        merged = await kube.merge(CONFIG_MAPS, "m", {**fresh, "data": {"b": "6", "a": None}}, namespace)
        assert merged["data"] == {"b": "6"}
        assert "managedFields" not in merged["metadata"]
        assert managers(apiserver, "configmaps", "m", namespace) == {("distillery", None)}
        await kube.delete(CONFIG_MAPS, "m", namespace, uid="another-object")
        assert await kube.find(CONFIG_MAPS, "m", namespace) == merged
        for _ in range(2):
            await kube.delete(CONFIG_MAPS, "m", namespace, uid=made["metadata"]["uid"])
        assert await kube.find(CONFIG_MAPS, "m", namespace) is None

    apiserver.act(scene)


def test_errors_tell_a_bad_object_from_a_missing_kind_and_a_missing_namespace(
    apiserver: ApiServer, namespace: str
) -> None:
    missing = Resource("nothing.dev", "v1", "nothings", "Nothing")

    async def scene(kube: Kube) -> None:
        with pytest.raises(Unusable, match=r"metadata\.name"):
            await kube.create(CONFIG_MAPS, config_map(namespace, "Not A Name"))
        job = {"apiVersion": DISTILLATION_JOBS.api_version, "kind": "DistillationJob", "spec": {}}
        with pytest.raises(Unusable):
            await kube.create(DISTILLATION_JOBS, {**job, "metadata": {"name": "j", "namespace": namespace}})
        for resource, kind_missing in ((missing, True), (RAY_JOBS, False)):
            with pytest.raises(NotFound) as caught:
                await kube.get(resource, "x", namespace)
            assert caught.value.kind_missing is kind_missing
        with pytest.raises(NotFound) as caught:
            await kube.list(missing)
        assert caught.value.kind_missing
        with pytest.raises(NotFound) as caught:
            await kube.create(missing, {"metadata": {"name": "x", "namespace": namespace}})
        assert caught.value.kind_missing
        with pytest.raises(NotFound) as caught:
            await kube.create(CONFIG_MAPS, config_map("no-such-namespace", "m"))
        assert not caught.value.kind_missing
        assert await kube.find(CONFIG_MAPS, "m", "no-such-namespace") is None

    apiserver.act(scene)


def test_a_long_list_comes_in_pages_and_with_selectors(apiserver: ApiServer, namespace: str) -> None:
    async def make(kube: Kube, number: int) -> None:
        labels = {"distillery.dev/job-uid": "u"} if number % 2 else {}
        body = config_map(namespace, f"m{number:04d}")
        await kube.create(CONFIG_MAPS, {**body, "metadata": {**body["metadata"], "labels": labels}})

    async def scene(kube: Kube) -> None:
        await asyncio.gather(*(make(kube, number) for number in range(1100)))
        found = await kube.list(CONFIG_MAPS, namespace)
        assert [item["metadata"]["name"] for item in found] == [f"m{number:04d}" for number in range(1100)]
        pages = [page async for page in kube.scan(CONFIG_MAPS, namespace, view=dict, metadata_only=True)]
        assert [len(page) for page in pages] == [100] * 11
        assert set(pages[0][0]) == {"apiVersion", "kind", "metadata"}
        assert len(await kube.list(CONFIG_MAPS, namespace, labels="distillery.dev/job-uid")) == 550
        named = await kube.list(CONFIG_MAPS, namespace, fields="metadata.name=m0007")
        assert [item["metadata"]["name"] for item in named] == ["m0007"]

    apiserver.act(scene)


def test_a_watch_survives_a_killed_api_server_and_tells_what_happened_meanwhile(
    apiserver: ApiServer, namespace: str
) -> None:
    seen: list[tuple[str, str]] = []

    async def follow(kube: Kube) -> None:
        async with aclosing(kube.watch(CONFIG_MAPS, namespace)) as events:
            async for kind, item in events:
                seen.append((kind, item["metadata"]["name"]))

    async def scene(kube: Kube) -> None:
        first = await kube.create(CONFIG_MAPS, config_map(namespace, "first"))
        following = asyncio.create_task(follow(kube))
        await until(lambda: ("ADDED", "first") in seen, "the list")
        await kube.create(CONFIG_MAPS, config_map(namespace, "second"))
        await until(lambda: ("ADDED", "second") in seen, "an event")
        apiserver.kill()
        with pytest.raises(TransientError):
            await kube.get(CONFIG_MAPS, "first", namespace)
        await asyncio.to_thread(apiserver.start)
        await until(lambda: kube.find(CONFIG_MAPS, "first", namespace), "the restart")
        await kube.delete(CONFIG_MAPS, "first", namespace, uid=first["metadata"]["uid"])
        await kube.create(CONFIG_MAPS, config_map(namespace, "third"))
        await until(lambda: {("DELETED", "first"), ("ADDED", "third")} <= set(seen), "events after", 60)
        following.cancel()

    apiserver.act(scene)
    assert seen.count(("ADDED", "second")) == 1


def test_a_watch_from_a_version_that_etcd_has_compacted_lists_again(
    apiserver: ApiServer, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """410 is forced by a version that lies before the history: the watch begins anew and misses no deletion."""
    seen: list[tuple[str, str]] = []

    async def scene(kube: Kube) -> None:
        await kube.create(CONFIG_MAPS, config_map(namespace, "stays"))
        gone = await kube.create(CONFIG_MAPS, config_map(namespace, "goes"))
        watching = Watching(kube._transport, CONFIG_MAPS, CONFIG_MAPS.path(namespace), {})
        watching._version = "1"
        watching._known = {gone["metadata"]["uid"]: gone["metadata"]}
        await kube.delete(CONFIG_MAPS, "goes", namespace, uid=gone["metadata"]["uid"])
        async with aclosing(watching.events()) as events:
            async for kind, item in events:
                seen.append((kind, item["metadata"]["name"]))
                if len(seen) == 2:
                    return

    compact(apiserver)
    apiserver.act(scene)
    assert seen == [("DELETED", "goes"), ("ADDED", "stays")]


def compact(apiserver: ApiServer) -> None:
    """Make the API server forget its history: a restart empties its watch cache."""
    apiserver.kill()
    apiserver.start()


def test_a_continue_token_that_is_not_valid_any_more_is_told(apiserver: ApiServer, namespace: str) -> None:
    async def scene(kube: Kube) -> None:
        path = CONFIG_MAPS.path(namespace)
        with pytest.raises((Expired, Unusable)):
            await kube._transport.call("list", "configmaps", path, query={"limit": "1", "continue": "bm90"})

    apiserver.act(scene)


def test_an_account_without_rights_is_refused_and_one_with_a_token_gets_what_it_may(
    apiserver: ApiServer, namespace: str, tmp_path: Path
) -> None:
    apiserver.act(
        lambda kube: kube.create(SERVICE_ACCOUNTS, {"metadata": {"name": "worker", "namespace": namespace}})
    )
    kubeconfig = as_account(apiserver, namespace, "worker", tmp_path)

    async def scene() -> None:
        async with Kube.connect(str(kubeconfig)) as kube:
            assert kube.namespace == namespace
            for work in denied(kube, namespace):
                with pytest.raises(Forbidden, match="worker"):
                    await work()

    asyncio.run(scene())


def denied(kube: Kube, namespace: str) -> list[Callable[[], Any]]:
    return [
        lambda: kube.get(CONFIG_MAPS, "m", namespace),
        lambda: kube.list(PODS),
        lambda: kube.create(CONFIG_MAPS, config_map(namespace, "m")),
    ]


def as_account(apiserver: ApiServer, namespace: str, account: str, folder: Path) -> Path:
    """Write a kubeconfig with a token of a ServiceAccount."""
    token = kubectl(apiserver, "-n", namespace, "create", "token", account).strip()
    config = load_yaml(apiserver.kubeconfig.read_text(), "kubeconfig")
    context = config["contexts"][0]["context"]
    config["users"] = [{"name": context["user"], "user": {"token": token}}]
    context["namespace"] = namespace
    path = folder / "kubeconfig"
    path.write_text(json.dumps(config))
    return path


def test_calls_are_told_with_the_status_of_the_answer(apiserver: ApiServer, namespace: str) -> None:
    calls: list[tuple[str, str, int | None]] = []

    async def scene() -> None:
        told = lambda verb, plural, status, _s: calls.append((verb, plural, status))  # noqa: E731
        async with Kube.connect(str(apiserver.kubeconfig), on_call=told) as kube:
            await kube.find(CONFIG_MAPS, "none", namespace)
            await kube.create(CONFIG_MAPS, config_map(namespace, "m"))
            apiserver.kill()
            with pytest.raises(Unavailable):
                await kube.get(CONFIG_MAPS, "m", namespace)

    asyncio.run(scene())
    apiserver.start()
    assert calls == [("get", "configmaps", 404), ("create", "configmaps", 201), ("get", "configmaps", None)]
