import asyncio
import io
import json
import logging
import time

import aiohttp
import pytest

from distillery.controller.logs import configure_logging
from distillery.controller.probes import Health, older_than, probe_server
from distillery.controller.telemetry import Metrics
from distillery.logs import JsonLines, about


def values(metrics: Metrics) -> dict[str, float]:
    lines = [line for line in metrics.text().decode().splitlines() if line.startswith("distillery_")]
    return {
        name: float(value)
        for name, value in (line.rsplit(" ", 1) for line in lines)
        if "_created" not in name
    }


def test_what_is_told_is_counted():
    metrics = Metrics()
    metrics.stage_ended("teacher", "Succeeded", 75)
    metrics.attempt_ended("teacher", "HeartbeatLost")
    metrics.spent("EUR", 1.5)
    metrics.spent("EUR", -1)
    metrics.reconciled("done")
    metrics.api_call("update", "distillationjobs", 409, 0.01)
    metrics.api_call("get", "pods", None, 30.0)
    metrics.lead(True)
    metrics.follow_queue(lambda: 7, lambda: 2.5)
    shown = values(metrics)
    expected = {
        'distillery_stage_seconds_sum{outcome="Succeeded",stage="teacher"}': 75,
        'distillery_attempts_total{reason="HeartbeatLost",stage="teacher"}': 1,
        'distillery_cost_total{currency="EUR"}': 1.5,
        'distillery_reconciles_total{outcome="done"}': 1,
        'distillery_api_calls_total{code="409",resource="distillationjobs",verb="update"}': 1,
        'distillery_api_calls_total{code="0",resource="pods",verb="get"}': 1,
        'distillery_api_call_seconds_count{verb="get"}': 1,
        "distillery_leader": 1,
        "distillery_queue_depth": 7,
        "distillery_queue_oldest_seconds": 2.5,
    }
    assert {name: shown[name] for name in expected} == expected


def test_cpu_time_is_that_of_the_work_and_not_of_others_meanwhile():
    metrics = Metrics()

    def burn(seconds):
        end = time.thread_time() + seconds
        while time.thread_time() < end:
            pass

    async def work():
        burn(0.05)
        await asyncio.sleep(0.01)
        burn(0.05)
        return "result"

    async def other():
        burn(0.3)

    async def main():
        meanwhile = asyncio.create_task(other())
        assert await metrics.measure(work()) == "result"
        await meanwhile

    asyncio.run(main())
    spent = values(metrics)["distillery_reconcile_cpu_seconds_sum"]
    assert 0.1 <= spent < 0.3


def test_errors_and_cancellation_pass_through_the_meter():
    metrics = Metrics()
    cleaned = []

    async def failing():
        await asyncio.sleep(0)
        raise KeyError("x")

    async def endless():
        try:
            await asyncio.sleep(3600)
        finally:
            cleaned.append(True)

    async def main():
        with pytest.raises(KeyError):
            await metrics.measure(failing())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await metrics.measure(endless())

    asyncio.run(main())
    assert cleaned == [True]
    assert values(metrics)["distillery_reconcile_seconds_count"] == 2


def test_a_log_line_is_one_json_object_that_says_what_it_is_about():
    stream = io.StringIO()
    root = logging.getLogger()
    before = (list(root.handlers), root.level)
    try:
        configure_logging("info", stream)
        log = logging.getLogger("distillery.test")
        with about(namespace="team-a", job="tickets"):
            log.info("stage %s\nbegins", "teacher", extra={"stage": "teacher", "attempt": 2})
            try:
                raise ValueError("broken")
            except ValueError:
                log.exception("failed")
        log.debug("unseen")
        log.warning("after")
    finally:
        root.handlers[:], root.level = before[0], before[1]
    first, second, third = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert {key: first[key] for key in first if key != "time"} == {
        "level": "info",
        "logger": "distillery.test",
        "message": "stage teacher\nbegins",
        "namespace": "team-a",
        "job": "tickets",
        "stage": "teacher",
        "attempt": 2,
    }
    assert "ValueError: broken" in second["exception"]
    assert "job" not in third


def test_what_a_task_logs_is_about_what_it_was_begun_for():
    formatter = JsonLines()

    async def look(name):
        with about(job=name):
            await asyncio.sleep(0)
            return json.loads(formatter.format(logging.LogRecord("x", 20, "f", 1, "m", (), None)))["job"]

    async def main():
        return await asyncio.gather(*(look(name) for name in "abc"))

    assert asyncio.run(main()) == ["a", "b", "c"]


def test_probes_answer_for_a_standby_and_judge_only_the_leader():
    health, age = Health(), [0.0]
    health.add_check("queue", older_than(60, lambda: age[0], "nothing was begun"))

    async def ask(port, path):
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{port}{path}") as answer,
        ):
            return answer.status, await answer.text()

    async def main():
        async with probe_server(health, lambda: b"metric 1\n", "127.0.0.1", 0) as port:
            seen = [await ask(port, "/healthz"), await ask(port, "/readyz")]
            health.ready, age[0] = True, 61.0
            seen += [await ask(port, "/healthz"), await ask(port, "/readyz")]
            health.leading = True
            seen += [await ask(port, "/healthz"), await ask(port, "/metrics")]
            return seen

    assert asyncio.run(main()) == [
        (200, "ok"),
        (503, "not ready"),
        (200, "ok"),
        (200, "ok"),
        (500, "queue: nothing was begun for 61 s"),
        (200, "metric 1\n"),
    ]
