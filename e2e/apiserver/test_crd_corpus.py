"""A real kube-apiserver accepts and refuses what the corpus says, and names the field and the repair."""

from __future__ import annotations

import http.client
import json
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

import children
from api.corpus import Case, cases
from distillery.api.crd import job_definition, profile_definition
from distillery.api.yaml import load_yaml

pytestmark = pytest.mark.kube

ROOT = Path(__file__).parents[2]
HARNESS = ROOT / "e2e" / "cluster" / "apiserver"
JOBS, PROFILES = cases("jobs"), cases("profiles")
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
GROUP = "/apis/distillery.dev/v1alpha1"
JOB_PATH = f"{GROUP}/namespaces/default/distillationjobs"
PROFILE_PATH = f"{GROUP}/distillationprofiles"
STRICT = "fieldValidation=Strict"


class Server:
    """The API server over plain HTTPS, as the administrator."""

    def __init__(self, kubeconfig: Path) -> None:
        config = load_yaml(kubeconfig.read_text(), kubeconfig.name)
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self._address = urlsplit(cluster["server"]).netloc
        self._context = ssl.create_default_context(cafile=cluster["certificate-authority"])
        self._context.load_cert_chain(user["client-certificate"], user["client-key"])

    def call(
        self, verb: str, path: str, body: object = None, kind: str = "json", accept: str = ""
    ) -> tuple[int, dict[str, Any]]:
        connection = http.client.HTTPSConnection(self._address, context=self._context, timeout=30)
        try:
            headers = {"Content-Type": f"application/{kind}", "Accept": f"application/json{accept}"}
            connection.request(verb, path, None if body is None else json.dumps(body), headers)
            reply = connection.getresponse()
            text = reply.read().decode()
            # A kind that is not served yet is answered in plain text.
            is_json = reply.getheader("Content-Type", "").startswith("application/json")
            return reply.status, json.loads(text) if is_json else {"message": text}
        finally:
            connection.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("apiserver")
    started = children.run(
        [HARNESS, "start", "--dir", folder], check=True, capture_output=True, text=True, timeout=900
    )
    try:
        server = Server(Path(started.stdout.strip().splitlines()[-1]))
        for definition in (job_definition(), profile_definition()):
            code, reply = server.call("POST", f"{DEFINITIONS}?{STRICT}", definition)
            assert code == 201, reply["message"]
        for path in (JOB_PATH, PROFILE_PATH):
            wait_for(server, path)
        yield server
    finally:
        children.run([HARNESS, "stop", "--dir", folder], check=True, capture_output=True, timeout=120)


def wait_for(server: Server, path: str) -> None:
    for _ in range(150):
        if server.call("GET", path)[0] == 200:
            return
        time.sleep(0.2)
    raise AssertionError(f"{path} is not served")


def judge(server: Server, path: str, case: Case) -> None:
    code, reply = server.call("POST", f"{path}?dryRun=All&{STRICT}", case.body)
    if case.kind != "bad":
        assert code == 201, reply["message"]
        return
    assert code in (400, 422), reply
    assert case.field in reply["message"]
    assert case.says in reply["message"]


@pytest.mark.parametrize("case", JOBS, ids=lambda case: case.name)
def test_the_server_judges_the_job_as_the_corpus_says(server: Server, case: Case) -> None:
    judge(server, JOB_PATH, case)


@pytest.mark.parametrize("case", PROFILES, ids=lambda case: case.name)
def test_the_server_judges_the_profile_as_the_corpus_says(server: Server, case: Case) -> None:
    judge(server, PROFILE_PATH, case)


def test_both_definitions_are_structural_and_established(server: Server) -> None:
    for definition in server.call("GET", DEFINITIONS)[1]["items"]:
        found = {item["type"]: item["status"] for item in definition["status"]["conditions"]}
        assert found == {"NamesAccepted": "True", "Established": "True"}


def test_a_new_job_keeps_what_its_author_wrote(server: Server) -> None:
    body = JOBS[0].body
    made = server.call("POST", f"{JOB_PATH}?dryRun=All&{STRICT}", body)[1]
    assert made["spec"] == {**body["spec"], "suspend": False}
    assert made["status"] == {"observedGeneration": -1}


def test_null_counts_as_absent(server: Server) -> None:
    body = {**JOBS[0].body, "spec": {**JOBS[0].body["spec"], "storage": None, "profile": None}}
    made = server.call("POST", f"{JOB_PATH}?dryRun=All&{STRICT}", body)[1]
    assert made["spec"] == {**JOBS[0].body["spec"], "suspend": False}


def test_status_is_written_apart_from_the_spec_and_shows_in_the_columns(server: Server) -> None:
    name = JOBS[0].body["metadata"]["name"]
    assert server.call("POST", f"{JOB_PATH}?{STRICT}", JOBS[0].body)[0] == 201
    status = {
        "observedGeneration": 1,
        "phase": "Running",
        "progress": {"percent": 12.5, "stage": "teacher", "message": "asking"},
        "cost": {"spent": "1.20", "currency": "USD"},
        "evaluation": {"retention": 0.97},
    }
    patch = {"spec": {"suspend": True}, "status": status}
    code, written = server.call("PATCH", f"{JOB_PATH}/{name}/status?{STRICT}", patch, "merge-patch+json")
    assert (code, written["spec"]["suspend"], written["status"]) == (200, False, status)
    table = server.call("GET", JOB_PATH, accept=";as=Table;v=v1;g=meta.k8s.io")[1]
    columns = [column["name"] for column in table["columnDefinitions"]]
    row = dict(zip(columns, table["rows"][0]["cells"], strict=True))
    del row["Age"]
    assert row == {
        "Name": name,
        "Phase": "Running",
        "Stage": "teacher",
        "Progress": 12.5,
        "Retention": 0.97,
        "Cost": "1.20",
        "Message": "asking",
    }
