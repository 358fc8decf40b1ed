"""Kopf on our session, against a server on loopback: whatever the API server says, the watches go on."""

import asyncio
import json
from contextlib import asynccontextmanager

import pytest

from distillery.controller import handlers as module
from distillery.controller.cache import Cache
from distillery.controller.handlers import Handlers, watch
from distillery.controller.queue import WorkQueue
from distillery.kube import backoff, paging, session
from distillery.kube.resources import DISTILLATION_JOBS, PODS, RAY_JOBS
from distillery.manifests.metadata import JOB_UID_LABEL
from kube.api_double import says
from kube.test_decoding import nested
from kube.watch_double import WatchDouble, event, raw_lines, serving

OPENED = []
"""Sessions that Kopf does not close where a test ends it in a hurry."""


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(backoff, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(backoff, "LONGEST_PAUSE", 0.05)
    monkeypatch.setattr(backoff, "SHORT_PAUSE", 0.01)

    async def opened(*given):
        made = await session.open_session(*given)
        OPENED.append(made[0])
        return made

    monkeypatch.setattr(module, "open_session", opened)


def job(name: str, version: int = 8, **more) -> dict:
    about = {"name": name, "namespace": "a", "uid": f"uid-{name}", "resourceVersion": str(version)}
    return {"apiVersion": "distillery.dev/v1alpha1", "kind": "DistillationJob", "metadata": about, **more}


def page(*items: object, more: str = "") -> dict:
    return {
        "kind": "L",
        "apiVersion": "v1",
        "items": list(items),
        "metadata": {"resourceVersion": "7", "continue": more},
    }


FRESH = raw_lines(event("ADDED", job("fresh", spec={"profile": "p"})), then_silent=True)


class Running:
    """The operator's handlers fed by Kopf."""

    def __init__(self, double: WatchDouble) -> None:
        self.double = double
        self.cache = Cache()
        self.gone: list[str] = []

        async def look(_key):
            return None

        self.handlers = Handlers(self.cache, WorkQueue(look), self.gone.append)
        self.task: asyncio.Task | None = None

    async def until(self, condition, seconds: float = 15.0) -> None:
        for _ in range(int(seconds / 0.01)):
            assert not self.task.done(), f"the watches ended: {self.task}"
            if condition():
                return
            await asyncio.sleep(0.01)
        raise AssertionError(f"not within {seconds} s; asked: {self.double.asked[-20:]}")

    async def until_fresh(self) -> None:
        await self.until(lambda: self.cache.job("uid-fresh") == ("a", "fresh"))
        assert ("a", "fresh") in self.cache.jobs_with_profile("p")
        assert ("a", "fresh") not in self.cache.jobs_with_profile("q")


@asynccontextmanager
async def running(double: WatchDouble, folder):
    async with serving(double, folder) as kubeconfig:
        started = Running(double)
        started.task = asyncio.create_task(watch(started.handlers, [], kubeconfig))
        try:
            yield started
            assert not started.task.done()
        finally:
            await _ended(started.task)


async def _ended(task: asyncio.Task) -> None:
    """End Kopf and what it leaves behind: it waits 5 s for tasks of its own that do not end."""
    task.cancel()
    await asyncio.sleep(0.05)
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    for other in rest:
        other.cancel()
    await asyncio.gather(*rest, return_exceptions=True)
    while OPENED:
        await OPENED.pop().close()


def until_fresh(double: WatchDouble, folder) -> Running:
    async def story() -> Running:
        async with running(double, folder) as started:
            await started.until_fresh()
            return started

    return asyncio.run(story())


def status(code: object, **more) -> dict:
    return {
        "kind": "Status",
        "status": "Failure",
        "code": code,
        "message": "etcdserver: leader changed",
        **more,
    }


ENDS = {
    "500": event("ERROR", status(500)),
    "503": event("ERROR", status(503)),
    "429": event("ERROR", status(429)),
    "403": event("ERROR", status(403)),
    "410": event("ERROR", status(410)),
    "a code that is text": event("ERROR", status("500")),
    "an ERROR without a code": event("ERROR", {}),
    "an ERROR without an object": event("ERROR", None),
    "an ERROR that is a list": event("ERROR", [1]),
    "no JSON": b"<html>busy</html>\n",
    "half a line": b'{"type":"ADDED","object":{"met',
    "a line that is null": b"null\n",
    "a list": b"[1]\n",
    "an event without a type": b'{"object":{}}\n',
    "an event without an object": b'{"type":"ADDED"}\n',
    "an object that is none": b'{"type":"ADDED","object":3}\n',
    "nothing": b"",
    "bytes that are no text": b"\xff\xfe\x00\n",
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_a_watch_that_ends_in_any_way_is_begun_again(end, tmp_path):
    double = WatchDouble()
    double.script(DISTILLATION_JOBS, watches=[raw_lines(end), raw_lines(end), FRESH])
    until_fresh(double, tmp_path)
    lists = len(double.queries(DISTILLATION_JOBS, watch=False))
    assert lists == (3 if b"410" in end else 1)


ODD = {
    "an unknown kind of event": event("RENAMED", job("odd")),
    "a bookmark": event("BOOKMARK", {"metadata": {"resourceVersion": "9"}}),
    "a bookmark without a version": event("BOOKMARK", {"metadata": {}}),
    "a bookmark without metadata": event("BOOKMARK", {}),
    "a bookmark whose metadata is null": event("BOOKMARK", {"metadata": None}),
    "no metadata": event("ADDED", {"spec": {}}),
    "metadata that is a list": event("ADDED", {"metadata": []}),
    "no name": event("ADDED", {"metadata": {"uid": "u", "resourceVersion": "9"}}),
    "a uid that is a number": event("ADDED", {"metadata": {"uid": 3, "name": "n", "namespace": "a"}}),
    "a version that is a number": event(
        "ADDED", {"metadata": {**job("odd")["metadata"], "resourceVersion": 9}}
    ),
    "a spec that is a list": event("ADDED", job("odd", spec=[])),
    "a profile that is a list": event("MODIFIED", job("odd", spec={"profile": ["a"]})),
    "a deletion without a name": event("DELETED", {"metadata": {"uid": "u"}}),
    "an empty line": b"\n \n",
    "1,500 deep": b'{"type":"ADDED","object":'
    + json.dumps(job("deep")).encode()[:-1]
    + b',"spec":%s}}\n' % nested(1500),
    "9,995 deep": b'{"type":"ADDED","object":'
    + json.dumps(job("deep")).encode()[:-1]
    + b',"spec":%s}}\n' % nested(9994),
    "1 MB wide": event("ADDED", job("wide", spec={"a": [{}] * 350_000})),
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_an_event_that_is_odd_costs_nobody_else_anything(odd, tmp_path):
    double = WatchDouble()
    fresh = event("ADDED", job("fresh", spec={"profile": "p"}))
    double.script(DISTILLATION_JOBS, watches=[raw_lines(odd, fresh, then_silent=True)])
    started = until_fresh(double, tmp_path)
    assert len(double.queries(DISTILLATION_JOBS, watch=True)) == 1
    if b"deep" in odd[:200] or b"wide" in odd[:200]:
        assert {"uid-deep", "uid-wide"} & set(started.cache.job_uids())


REFUSED = {
    "500": says(status(500), 500),
    "503 without JSON": says("<html>no upstream</html>", 503),
    "429": says(status(429), 429, {"Retry-After": "0"}),
    "403": says(status(403), 403),
    "401": says(status(401), 401),
    "404": says(status(404), 404),
    "410": says(status(410), 410),
    "422": says(status(422), 422),
    "HTML": says("<html>hello</html>"),
    "an empty body": says(""),
    "null": says("null"),
    "a list": says("[]"),
    "no items": says({"metadata": {}}),
    "items that are a mapping": says({"items": {}}),
    "half an answer": says('{"items":['),
    "deep without end": says("[" * 5000),
    "a Status with 200": says(status(500)),
}


@pytest.mark.parametrize("refusal", REFUSED.values(), ids=REFUSED)
def test_a_list_that_is_refused_for_long_is_asked_for_again(refusal, tmp_path):
    double = WatchDouble()
    double.script(DISTILLATION_JOBS, lists=[*[refusal] * 12, says(page(job("fresh", spec={"profile": "p"})))])
    until_fresh(double, tmp_path)


@pytest.mark.parametrize("kind", ["500", "503 without JSON", "429", "403", "401", "404", "410", "422"])
def test_a_watch_that_is_refused_for_long_is_asked_for_again(kind, tmp_path):
    double = WatchDouble()
    double.script(DISTILLATION_JOBS, watches=[*[REFUSED[kind]] * 12, FRESH])
    until_fresh(double, tmp_path)
    assert len(double.queries(DISTILLATION_JOBS, watch=True)) == 13


@pytest.mark.parametrize("kind", ["500", "403", "401", "HTML", "an empty body", "null", "no items"])
def test_kinds_are_looked_up_again_until_they_are_told(kind, tmp_path):
    double = WatchDouble()
    double.discovery = [REFUSED[kind]] * 6
    double.script(DISTILLATION_JOBS, watches=[FRESH])
    until_fresh(double, tmp_path)


ITEMS = {
    "null": None,
    "a number": 3,
    "no metadata": {},
    "metadata that is null": {"metadata": None},
    "no uid": {"metadata": {"name": "a", "namespace": "b"}},
    "labels that are a list": {**job("x"), "metadata": {**job("x")["metadata"], "labels": ["a"]}},
}


@pytest.mark.parametrize("item", ITEMS.values(), ids=ITEMS)
def test_an_item_that_is_odd_costs_no_other_one_anything(item, tmp_path):
    double = WatchDouble()
    fresh = job("fresh", spec={"profile": "p"})
    double.script(DISTILLATION_JOBS, lists=[says(page(item, fresh))])
    double.script(PODS, lists=[says(page(item))])
    until_fresh(double, tmp_path)


def test_items_that_are_null_are_none(tmp_path):
    double = WatchDouble()
    double.script(DISTILLATION_JOBS, lists=[says({"items": None, "metadata": {}})], watches=[FRESH])
    until_fresh(double, tmp_path)


def test_a_list_is_begun_anew_where_the_server_forgets_how_it_went_on(tmp_path):
    double = WatchDouble()
    lists = [
        says(page(job("a"), more="next")),
        says(status(410), 410),
        says(page(job("fresh", spec={"profile": "p"}))),
    ]
    double.script(DISTILLATION_JOBS, lists=lists)
    until_fresh(double, tmp_path)
    assert [query.get("continue") for query in double.queries(DISTILLATION_JOBS, watch=False)] == [
        None,
        "next",
        None,
    ]


def test_pages_shrink_to_what_can_be_held_and_nothing_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(paging, "PAGE_BYTES", 100_000)
    large = [job(f"large-{n}", spec={"a": [{}] * 30_000}) for n in range(5)]
    everything = [*large, job("fresh", spec={"profile": "p"})]

    async def listed(request):
        begin, limit = int(request.query.get("continue") or 0), int(request.query["limit"])
        end = begin + limit
        return await says(page(*everything[begin:end], more=str(end) if end < len(everything) else ""))(
            request
        )

    double = WatchDouble()
    double.script(DISTILLATION_JOBS, lists=[listed] * 100)
    started = until_fresh(double, tmp_path)
    assert len(started.cache.job_uids()) == 6
    limits = [int(query["limit"]) for query in double.queries(DISTILLATION_JOBS, watch=False)]
    assert limits[0] == 250
    assert 1 in limits


def test_a_watch_that_only_fails_is_not_asked_for_in_a_hurry(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(backoff, "LONGEST_PAUSE", 0.2)
    double = WatchDouble()
    double.script(DISTILLATION_JOBS, watches=[raw_lines(ENDS["500"])] * 500)

    async def story() -> None:
        async with running(double, tmp_path):
            await asyncio.sleep(2.0)

    asyncio.run(story())
    assert 5 < len(double.queries(DISTILLATION_JOBS, watch=True)) < 25
    told = [record.getMessage() for record in caplog.records if "leader changed" in record.getMessage()]
    assert told[0].startswith(
        "watch /apis/distillery.dev/v1alpha1/distillationjobs: 500 etcdserver: leader changed; again in"
    )


def test_a_token_that_is_exchanged_is_used_from_then_on(tmp_path, monkeypatch):
    token = tmp_path / "token"
    token.write_text("first")
    double = WatchDouble()
    double.script(
        DISTILLATION_JOBS, watches=[raw_lines(event("ADDED", job("first"))), *[raw_lines()] * 40, FRESH]
    )

    async def story() -> None:
        async with serving(double, tmp_path) as kubeconfig:
            config = json.loads((tmp_path / "kubeconfig").read_text())
            config["users"][0]["user"] = {"tokenFile": str(token)}
            (tmp_path / "kubeconfig").write_text(json.dumps(config))
            started = Running(double)
            started.task = asyncio.create_task(watch(started.handlers, [], kubeconfig))
            await started.until(lambda: started.cache.job("uid-first") is not None)
            token.write_text("second")
            await started.until_fresh()
            await _ended(started.task)

    asyncio.run(story())
    assert double.tokens[0] == "Bearer first"
    assert set(double.tokens) <= {"Bearer first", "Bearer second"}


def test_what_kopf_is_given_is_what_the_projections_read(tmp_path):
    """A field that a projection reads and the watches leave out would be seen by the sweeper alone."""

    class Noted(dict):
        read: set[str] = set()

        def get(self, key, default=None):
            Noted.read.add(key)
            return super().get(key, default)

    for resource, project in module.PROJECTIONS.items():
        kept = module.VIEWS[resource](
            {
                "metadata": {"uid": "u", "name": "n", "namespace": "a", "labels": {JOB_UID_LABEL: "j"}},
                "spec": {"suspend": True, "nodeName": "n"},
                "status": {"phase": "x"},
            }
        )
        Noted.read = set()
        project({"metadata": {}, "spec": Noted(), "status": {}})
        assert Noted.read <= set(kept.get("spec", {})), resource.kind
        Noted.read = set()
        project({"metadata": Noted(), "spec": {}, "status": {}})
        whole = {*kept["metadata"], "creationTimestamp", "deletionTimestamp", "resourceVersion"}
        assert Noted.read <= whole, resource.kind
        assert "status" in kept or resource.kind == "RayCluster"


def test_what_a_pod_asks_for_is_seen_through_the_watch():
    """The advice to raise it was never given: of the spec only plain fields got so far."""
    resources = {
        "requests": {"cpu": "100m", "memory": "4Gi", "nvidia.com/gpu": "1"},
        "limits": {"memory": "4Gi"},
    }
    pod = {
        "metadata": {"uid": "u", "name": "p", "namespace": "a", "labels": {JOB_UID_LABEL: "j"}},
        "spec": {"containers": [{"name": "ray-worker", "resources": resources, "env": [{}] * 1000}, {}]},
        "status": {"phase": "Running"},
    }
    kept = module.VIEWS[PODS](pod)
    assert module.PROJECTIONS[PODS](kept) == module.PROJECTIONS[PODS](pod)
    assert module.PROJECTIONS[PODS](kept).shortage == "its request of 100m CPU is less than Ray needs (250m)"
    assert len(str(kept)) < 500


def test_a_rayjob_is_seen_through_the_watch_as_it_is(tmp_path):
    rayjob = {
        "metadata": {
            **job("r")["metadata"],
            "labels": {JOB_UID_LABEL: "uid-fresh", "x": "y"},
            "managedFields": [{}],
        },
        "spec": {"suspend": True, "rayClusterSpec": {"a": 1}},
        "status": {"jobStatus": "RUNNING"},
    }
    double = WatchDouble()
    double.script(RAY_JOBS, watches=[raw_lines(event("ADDED", rayjob), then_silent=True)])
    double.script(DISTILLATION_JOBS, watches=[FRESH])

    async def story() -> None:
        async with running(double, tmp_path) as started:
            await started.until_fresh()
            await started.until(lambda: started.cache.children("a", "uid-fresh") != ())
            assert started.cache.children("a", "uid-fresh") == (module.PROJECTIONS[RAY_JOBS](rayjob),)

    asyncio.run(story())
