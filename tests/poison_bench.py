"""What hundreds of objects cost the operator that are as large and deep as an API server admits.

    python tests/poison_bench.py [OBJECTS]

The operator is the real process, with a server on loopback that holds nothing else: each object is listed, watched,
looked at and refused. Printed are its peak memory, its processor time, and how long its probes took to answer.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import aiohttp
from aiohttp import web

from kube.watch_double import WatchDouble, serving

PROCESS = """
import os, sys
from distillery.controller import __main__ as process
process.HOST = "127.0.0.1"
os._exit(process.main())
"""
KINDS = {
    "wide lists": "[" + "{}," * 340_000 + "{}]",
    "wide maps": "[" + '{"":0},' * 145_000 + "{}]",
    "100,000 keys": "{" + ",".join(f'"k{n:05}":0' for n in range(100_000)) + "}",
    "one text": '"' + "x" * 1_000_000 + '"',
    "9,900 deep": "[" * 9_900 + "]" * 9_900,
    "deep and wide": "[" + "[]," * 300_000 + "[" * 9_900 + "]" * 9_900 + "]",
}
JOBS = "/apis/distillery.dev/v1alpha1/distillationjobs"


class Holding(WatchDouble):
    """A cluster with nothing but such jobs."""

    def __init__(self, count: int, text: str) -> None:
        super().__init__()
        self.count = count
        self.text = text
        self.refused: set[str] = set()
        self._bodies = [self._body(number) for number in range(count)]

    def body(self, number: int) -> str:
        return self._bodies[number]

    def _body(self, number: int) -> str:
        about = {"name": f"p{number}", "namespace": "a", "uid": f"u{number}", "resourceVersion": "5"}
        head = {"apiVersion": "distillery.dev/v1alpha1", "kind": "DistillationJob"}
        whole = {
            **head,
            "metadata": {**about, "generation": 1},
            "spec": {"student": {"base": {"architecture": {"a": 0}}}},
        }
        return json.dumps(whole).replace('{"a": 0}', '{"a":' + self.text + "}")

    async def answer(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        if path == JOBS and "watch" not in request.query:
            begin, limit = int(request.query.get("continue") or 0), int(request.query["limit"])
            end = min(self.count, begin + limit)
            more = str(end) if end < self.count else ""
            items = ",".join(self.body(number) for number in range(begin, end))
            about = json.dumps({"resourceVersion": "7", "continue": more})
            return web.Response(
                text=f'{{"metadata":{about},"items":[{items}]}}', content_type="application/json"
            )
        if path.endswith("/status"):
            self.refused.add(path)
            return web.json_response({})
        if "/distillationjobs/p" in path:
            return web.Response(text=self.body(int(path.rsplit("/p", 1)[1])), content_type="application/json")
        if "/namespaces/" in path or path.endswith("/leases"):
            if request.method == "GET":
                return web.json_response(
                    {"kind": "Status", "code": 404, "details": {"name": "n"}}, status=404
                )
            return web.json_response({"metadata": {}, "spec": {}})
        return await super().answer(request)


async def measure(name: str, text: str, count: int) -> None:
    """Run an operator until it has refused all of them."""
    double = Holding(count, text)
    with tempfile.TemporaryDirectory() as folder:
        async with serving(double, Path(folder)) as kubeconfig:
            with (Path(folder) / "log").open("wb") as log:
                environment = {
                    **os.environ,
                    "KUBECONFIG": kubeconfig,
                    "DISTILLERY_PORT": "0",
                    "POD_NAMESPACE": "a",
                }
                process = await asyncio.create_subprocess_exec(
                    sys.executable, "-c", PROCESS, env=environment, stdout=log, stderr=log
                )
            try:
                started, slowest = time.monotonic(), 0.0
                while len(double.refused) < count and time.monotonic() - started < 600:
                    await asyncio.sleep(0.2)
                    if process.returncode is not None:
                        sys.exit((Path(folder) / "log").read_text()[-3000:])
                    with suppress(aiohttp.ClientConnectionError):
                        slowest = max(slowest, await _probe(Path(folder) / "log"))
                took = time.monotonic() - started
                said = Path(f"/proc/{process.pid}/status").read_text()
                peak = (
                    next(int(line.split()[1]) for line in said.splitlines() if line.startswith("VmHWM"))
                    // 1024
                )
                fields = Path(f"/proc/{process.pid}/stat").read_text().rsplit(") ", 1)[1].split()
                cpu = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
                print(
                    f"{name:14} × {count}: {len(double.refused)} refused in {took:.0f} s, {peak} MiB at most,"
                    f" {cpu:.0f} s of CPU, slowest probe {slowest:.1f} s",
                    flush=True,
                )
            finally:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()


async def _probe(log: Path) -> float:
    said = [line for line in log.read_text().splitlines() if "serving probes on port" in line]
    if not said:
        return 0.0
    port = json.loads(said[0])["message"].rsplit(" ", 1)[1]
    started = time.monotonic()
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/healthz") as answer:
        await answer.read()
    return time.monotonic() - started


async def main() -> None:
    """Measure every kind."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    for name, text in KINDS.items():
        await measure(name, text, count)


if __name__ == "__main__":
    asyncio.run(main())
