"""What the operator's process loads: neither worker libraries nor the typed models of the Kubernetes client."""

import json
import sys

import children
from distillery.settings import Settings

HEAVY = {
    "ray",
    "torch",
    "pyarrow",
    "numpy",
    "boto3",
    "botocore",
    "transformers",
    "scipy",
    "sklearn",
    "pandas",
}

PROGRAM = """
import asyncio, json, sys
import distillery.controller.__main__, distillery.controller.reconcile, distillery.controller.telling
from distillery.kube.client import Kube
from distillery.kube.resources import PODS

async def call():
    try:
        async with Kube.connect(sys.argv[1]) as kube:
            await kube.get(PODS, "p", "n")
    except Exception as error:
        assert type(error).__name__ == "Unavailable", error

asyncio.run(call())
pages = int(open("/proc/self/statm").read().split()[1])
print(json.dumps({"modules": list(sys.modules), "megabytes": pages * 4096 / 1e6}))
"""


def test_the_operator_loads_no_worker_library_and_no_typed_model(tmp_path):
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(
        json.dumps(
            {
                "current-context": "c",
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
                "users": [{"name": "u", "user": {}}],
            }
        )
    )
    done = children.run(
        [sys.executable, "-c", PROGRAM, kubeconfig], capture_output=True, text=True, check=True
    )
    loaded = json.loads(done.stdout)
    assert {name.split(".")[0] for name in loaded["modules"]} & HEAVY == set()
    assert [name for name in loaded["modules"] if name.startswith("kubernetes.aio.client.models.")] == []
    assert [name for name in loaded["modules"] if name.startswith("kubernetes.aio.client.api.")] == []
    assert loaded["megabytes"] < 120


def test_settings_of_the_operator_come_from_its_environment():
    given = Settings(
        {
            "POD_NAME": "distillery-0",
            "POD_NAMESPACE": "distillery",
            "DISTILLERY_WATCH_NAMESPACES": "a, b,,a",
            "DISTILLERY_WORKER_IMAGE": "worker:1",
            "DISTILLERY_RAY_VERSION": "2.60.0",
            "DISTILLERY_PORT": "9000",
            "DISTILLERY_LOG_LEVEL": "WARNING",
        }
    )
    assert (given.pod_name, given.namespace, given.watch_namespaces) == (
        "distillery-0",
        "distillery",
        ("a", "b"),
    )
    assert (given.worker_image, given.ray_version, given.port, given.log_level) == (
        "worker:1",
        "2.60.0",
        9000,
        "warning",
    )
    bare = Settings({})
    assert (bare.namespace, bare.watch_namespaces, bare.worker_image, bare.ray_version) == (
        None,
        (),
        "",
        None,
    )
    assert (bare.port, bare.log_level) == (8080, "info")
    assert bare.pod_name
