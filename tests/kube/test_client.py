import asyncio
import json
import pickle
import ssl
from contextlib import aclosing

import pytest

from distillery.errors import DistilleryError, TransientError
from distillery.kube import paging
from distillery.kube.client import Kube
from distillery.kube.connection import open_client
from distillery.kube.errors import (
    Exists,
    Expired,
    Forbidden,
    NoCluster,
    NotFound,
    Stale,
    Unavailable,
    Unusable,
)
from distillery.kube.resources import (
    CONFIG_MAPS,
    DISTILLATION_JOBS,
    DISTILLATION_PROFILES,
    NAMESPACES,
    RAY_JOBS,
)
from kube.api_double import Script, connected, refusal, says, streams


def item(name: str, version: int = 1, **more) -> dict:
    return {
        "metadata": {"name": name, "namespace": "a", "uid": f"uid-{name}", "resourceVersion": str(version)},
        **more,
    }


def page(*items: dict, more: str = "", version: int = 9) -> dict:
    return {"items": list(items), "metadata": {"resourceVersion": str(version), "continue": more}}


def asked(coroutine):
    return asyncio.run(coroutine)


def test_paths_are_those_of_the_api():
    assert CONFIG_MAPS.path("a", "m") == "/api/v1/namespaces/a/configmaps/m"
    assert RAY_JOBS.path() == "/apis/ray.io/v1/rayjobs"
    assert DISTILLATION_JOBS.path("a", "j", "status") == (
        "/apis/distillery.dev/v1alpha1/namespaces/a/distillationjobs/j/status"
    )
    assert DISTILLATION_PROFILES.path(None, "p") == "/apis/distillery.dev/v1alpha1/distillationprofiles/p"
    assert NAMESPACES.path("ignored", "n/../m") == "/api/v1/namespaces/n%2F..%2Fm"
    with pytest.raises(ValueError, match="needs a namespace"):
        CONFIG_MAPS.path(None, "m")


ANSWERS = [
    (404, "NotFound", "thing", "get", NotFound),
    (409, "AlreadyExists", "thing", "create", Exists),
    (409, "Conflict", "thing", "update", Stale),
    (410, "Expired", None, "get", Expired),
    (401, "Unauthorized", None, "get", Forbidden),
    (403, "Forbidden", "thing", "create", Forbidden),
    (400, "BadRequest", None, "create", Unusable),
    (422, "Invalid", "thing", "create", Unusable),
    (429, "TooManyRequests", None, "get", Unavailable),
    (500, "InternalError", None, "update", Unavailable),
    (503, "ServiceUnavailable", None, "get", Unavailable),
    (504, "Timeout", None, "create", Unavailable),
]


@pytest.mark.parametrize(("code", "reason", "name", "verb", "expected"), ANSWERS)
def test_every_refusal_becomes_the_error_that_says_what_to_do_next(
    tmp_path, code, reason, name, verb, expected
):
    async def scene():
        async with connected(Script(refusal(code, reason, "because", name)), tmp_path) as kube:
            if verb == "get":
                await kube.get(CONFIG_MAPS, "thing", "a")
            elif verb == "create":
                await kube.create(CONFIG_MAPS, item("thing"))
            else:
                await kube.replace(CONFIG_MAPS, item("thing"))

    with pytest.raises(DistilleryError) as caught:
        asked(scene())
    assert type(caught.value) is expected
    assert "because" in caught.value.message
    assert issubclass(expected, TransientError) == (code in (429, 500, 503, 504))
    again = pickle.loads(pickle.dumps(caught.value))
    assert (type(again), again.args) == (expected, caught.value.args)


def test_a_missing_kind_is_told_from_a_missing_object(tmp_path):
    async def scene(answer):
        async with connected(Script(answer), tmp_path) as kube:
            return await kube.find(RAY_JOBS, "x", "a")

    assert asked(scene(refusal(404, "NotFound", "rayjobs x not found", "x"))) is None
    with pytest.raises(NotFound) as caught:
        asked(scene(says("404 page not found\n", 404)))
    assert caught.value.kind_missing
    assert str(caught.value) == "get /apis/ray.io/v1/namespaces/a/rayjobs/x: this kind is not installed"


def test_retry_after_is_kept_and_nonsense_in_it_ignored(tmp_path):
    async def scene(value):
        async with connected(Script(says({}, 429, {"Retry-After": value})), tmp_path) as kube:
            await kube.get(CONFIG_MAPS, "x", "a")

    for value, expected in (("7", 7.0), ("soon", None), ("-1", None), ("nan", None)):
        with pytest.raises(Unavailable) as caught:
            asked(scene(value))
        assert caught.value.retry_after == expected


def test_a_list_reads_all_pages_and_names_the_kind_of_each_item(tmp_path):
    script = Script(says(page(item("one"), more="token")), says(page(item("two"))))

    async def scene():
        async with connected(script, tmp_path) as kube:
            return await kube.list(CONFIG_MAPS, "a", labels="distillery.dev/job-uid=u, x in (a)")

    kind = {"apiVersion": "v1", "kind": "ConfigMap"}
    assert asked(scene()) == [{**item("one"), **kind}, {**item("two"), **kind}]
    assert [query for _, _, query, _ in script.requests] == [
        {"limit": "500", "labelSelector": "distillery.dev/job-uid=u, x in (a)"},
        {"limit": "500", "labelSelector": "distillery.dev/job-uid=u, x in (a)", "continue": "token"},
    ]


def test_a_list_whose_continue_token_expired_begins_anew(tmp_path):
    script = Script(
        says(page(item("old"), more="token")),
        refusal(410, "Expired", "too old"),
        says(page(item("new"))),
    )

    async def scene():
        async with connected(script, tmp_path) as kube:
            return [found["metadata"]["name"] for found in await kube.list(CONFIG_MAPS, "a")]

    assert asked(scene()) == ["new"]


def test_writes_carry_their_preconditions(tmp_path):
    script = Script(says({"ok": True}))

    async def scene():
        async with connected(script, tmp_path) as kube:
            await kube.merge(
                DISTILLATION_JOBS, "j", {"metadata": {"resourceVersion": "3"}}, "a", subresource="status"
            )
            await kube.replace_status(DISTILLATION_JOBS, item("j", 4))
            await kube.delete(RAY_JOBS, "r", "a", uid="u")
            with pytest.raises(ValueError, match="without a precondition"):
                await kube.replace(CONFIG_MAPS, {"metadata": {"name": "m", "namespace": "a"}})

    asked(scene())
    (patch, put, delete), (headers, *_) = script.requests, script.headers
    assert patch[:2] == ("PATCH", "/apis/distillery.dev/v1alpha1/namespaces/a/distillationjobs/j/status")
    assert headers["Content-Type"] == "application/merge-patch+json"
    assert headers["Authorization"] == "Bearer token-of-the-test"
    assert json.loads(patch[3]) == {"metadata": {"resourceVersion": "3"}}
    assert put[:2] == ("PUT", "/apis/distillery.dev/v1alpha1/namespaces/a/distillationjobs/j/status")
    assert json.loads(delete[3]) == {
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "propagationPolicy": "Background",
        "preconditions": {"uid": "u"},
    }


def test_deleting_what_is_gone_or_was_replaced_by_another_is_fine(tmp_path):
    async def scene(answer):
        async with connected(Script(answer), tmp_path) as kube:
            await kube.delete(RAY_JOBS, "r", "a", uid="u")

    asked(scene(refusal(404, "NotFound", "gone", "r")))
    asked(scene(refusal(409, "Conflict", "uid differs", "r")))


def test_a_watch_lists_follows_and_goes_on_after_broken_lines_errors_and_forgotten_versions(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("distillery.kube.backoff.SHORT_PAUSE", 0.0)
    monkeypatch.setattr("distillery.kube.backoff.LONGEST_PAUSE", 0.0)
    script = Script(
        says(page(item("a"), item("b"), version=10)),
        streams(
            {"type": "MODIFIED", "object": item("a", 11)},
            {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "15"}}},
            broken=b'{"type": "ADDED", "obj',
        ),
        says("busy", 503),
        streams({"type": "ERROR", "object": {"code": 410, "reason": "Expired", "message": "too old"}}),
        says(page(item("a", 30), item("c", 31), version=40)),
        streams({"type": "DELETED", "object": item("c", 41)}),
    )
    seen = []

    async def scene():
        async with (
            connected(script, tmp_path) as kube,
            aclosing(kube.watch(CONFIG_MAPS, "a", name="x")) as events,
        ):
            async for kind, found in events:
                seen.append((kind, found["metadata"]["name"]))
                if len(seen) == 7:
                    return

    asked(scene())
    assert seen == [
        ("ADDED", "a"),
        ("ADDED", "b"),
        ("MODIFIED", "a"),
        ("DELETED", "b"),
        ("MODIFIED", "a"),
        ("ADDED", "c"),
        ("DELETED", "c"),
    ]
    queries = [query for _, _, query, _ in script.requests]
    assert [query.get("resourceVersion") for query in queries] == [None, "10", "15", "15", None, "40"]
    assert {query["fieldSelector"] for query in queries} == {"metadata.name=x"}


def test_a_watch_ends_by_an_error_that_repetition_does_not_mend(tmp_path):
    async def scene():
        script = Script(refusal(403, "Forbidden", "no"))
        async with connected(script, tmp_path) as kube, aclosing(kube.watch(CONFIG_MAPS)) as events:
            await anext(events)

    with pytest.raises(Forbidden):
        asked(scene())


def test_a_line_of_several_megabytes_arrives_whole(tmp_path):
    big = item("big", 11, data={"x": "y" * 5_000_000})
    script = Script(says(page()), streams({"type": "ADDED", "object": big}))

    async def scene():
        async with connected(script, tmp_path) as kube, aclosing(kube.watch(CONFIG_MAPS)) as events:
            return await anext(events)

    assert asked(scene()) == ("ADDED", big)


def test_logs_come_line_by_line(tmp_path):
    script = Script(says("first\nsecond \xff\nlast"))

    async def scene():
        async with connected(script, tmp_path) as kube:
            return [line async for line in kube.logs("p", "a", "ray-head", follow=True)]

    assert asked(scene()) == ["first", "second \xff", "last"]
    assert script.requests[0][:3] == (
        "GET",
        "/api/v1/namespaces/a/pods/p/log",
        {"follow": "true", "container": "ray-head"},
    )


def test_every_request_is_counted_once_and_no_answer_counts_without_a_status(tmp_path):
    calls: list = []

    async def scene():
        async with connected(Script(says({}), refusal(409, "Conflict", "x")), tmp_path, calls) as kube:
            await kube.get(CONFIG_MAPS, "x", "a")
            with pytest.raises(Stale):
                await kube.replace(CONFIG_MAPS, item("x"))
        return kube

    asked(scene())
    assert calls == [("get", "configmaps", 200), ("update", "configmaps", 409)]


def test_a_server_that_is_not_there_is_a_passing_trouble(tmp_path):
    calls: list = []
    kubeconfig = tmp_path / "kubeconfig"

    async def scene():
        async with connected(Script(says({})), tmp_path):
            text = kubeconfig.read_text()
        kubeconfig.write_text(text)
        counted = lambda verb, plural, status, _seconds: calls.append((verb, plural, status))  # noqa: E731
        async with Kube.connect(str(kubeconfig), on_call=counted) as kube:
            await kube.get(CONFIG_MAPS, "x", "a")

    with pytest.raises(Unavailable, match="get /api/v1/namespaces/a/configmaps/x: ClientConnector"):
        asked(scene())
    assert calls == [("get", "configmaps", None)]


def test_the_namespace_is_that_of_the_context(tmp_path):
    async def scene():
        async with connected(Script(says({})), tmp_path) as kube:
            return kube.namespace

    assert asked(scene()) == "team-a"


@pytest.mark.parametrize("text", [None, "", "]: not yaml", "apiVersion: v1\nkind: Config\n", "[]"])
def test_an_unusable_kubeconfig_says_what_to_do(tmp_path, text):
    kubeconfig = tmp_path / "config"
    if text is not None:
        kubeconfig.write_text(text)

    async def scene():
        async with Kube.connect(str(kubeconfig)):
            raise AssertionError("unreachable")

    with pytest.raises(NoCluster, match="--kubeconfig or KUBECONFIG"):
        asked(scene())


def test_a_page_that_is_too_large_is_asked_for_again_with_fewer_objects(tmp_path, monkeypatch):
    monkeypatch.setattr(paging, "PAGE_BYTES", 5000)
    large = {"metadata": {"name": "x" * 4000}}
    answers = [
        says(page(*[large] * count, more=more)) for count, more in ((9, ""), (1, "b"), (2, ""), (1, ""))
    ]
    script = Script(*answers)

    async def scene() -> list[list[int]]:
        async with connected(script, tmp_path) as kube:
            view = lambda item: len(item["metadata"]["name"])  # noqa: E731
            return [sizes async for sizes in kube.scan(RAY_JOBS, view=view)]

    assert asked(scene()) == [[4000], [4000]]
    limits = [(query["limit"], query.get("continue")) for _, _, query, _ in script.requests]
    assert limits == [("100", None), ("25", None), ("50", "b"), ("12", "b")]


def test_an_authority_without_the_newer_extensions_is_trusted_as_ever(tmp_path, monkeypatch):
    """Python 3.13 sets this flag by default, and the authorities of many clusters do not stand up to it."""
    usual = ssl.create_default_context

    def strict(*args, **kwargs):
        context = usual(*args, **kwargs)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    monkeypatch.setattr(ssl, "create_default_context", strict)
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\n"
        "contexts: [{name: c, context: {cluster: c, user: u}}]\n"
        "clusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'}}]\nusers: [{name: u, user: {token: t}}]\n"
    )

    async def flags():
        client, _ = await open_client(str(kubeconfig), None)
        try:
            context = client.rest_client.ssl_context
            return context.verify_mode, context.check_hostname, context.verify_flags
        finally:
            await client.close()

    mode, checks_host, found = asyncio.run(flags())
    assert (mode, checks_host) == (ssl.CERT_REQUIRED, True)
    assert not found & ssl.VERIFY_X509_STRICT
