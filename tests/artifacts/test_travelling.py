"""A store travels to other processes without its keys and finds them in the environment where it arrives."""

from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import children
from artifacts.places import ROOT
from distillery.artifacts.credentials import S3Credentials
from distillery.artifacts.opening import open_location
from distillery.artifacts.store import ObjectStore
from distillery.errors import SpecError
from distillery.runner.secrets import LocalSecrets
from distillery.secrets import EnvironmentSecrets
from distillery.settings import Settings
from distillery.worker.secrets import PodSecrets

VALUES = {
    "DISTILLERY_SECRET_KEYS_AWS_ACCESS_KEY_ID": "AKIDPLANTED",
    "DISTILLERY_SECRET_KEYS_AWS_SECRET_ACCESS_KEY": "SECRETPLANTED",
    "DISTILLERY_SECRET_KEYS_AWS_SESSION_TOKEN": "TOKENPLANTED",
}
REFERENCES = ("keys/AWS_ACCESS_KEY_ID=file:access", "keys/AWS_SECRET_ACCESS_KEY=env:MY_SECRET")
READ = (
    "import pickle, sys; store = pickle.load(sys.stdin.buffer); "
    "sys.stdout.buffer.write(store.get('a')); store.close()"
)


class Bucket(BaseHTTPRequestHandler):
    """Lists nothing, returns the access key of whoever reads an object."""

    def do_GET(self) -> None:
        found = re.search(r"Credential=(\w+)/", self.headers["Authorization"])
        assert found
        body = b"<ListBucketResult/>" if "list-type=2" in self.path else found[1].encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        return


@pytest.fixture
def endpoint() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Bucket)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join(30)


def opened(endpoint: str, secrets: EnvironmentSecrets) -> ObjectStore:
    return open_location("s3://models/x", endpoint, "keys", secrets, "spec.storage")


def read_elsewhere(parcel: bytes, folder: Path, environment: dict[str, str]) -> str:
    """Unpickle a store in another process, in another folder, and read an object with it."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    done = children.run(
        [sys.executable, "-c", READ],
        input=parcel,
        cwd=folder,
        env={**plain, "PYTHONPATH": str(ROOT / "operator"), **environment},
        stdout=subprocess.PIPE,
        check=True,
    )
    return done.stdout.decode()


@pytest.mark.parametrize("kind", ["environment", "pod"])
def test_a_store_takes_its_keys_from_the_environment_of_the_process_where_it_arrives(
    endpoint: str, tmp_path: Path, kind: str
) -> None:
    settings = Settings({**VALUES, "OTHER": "OTHERPLANTED"})
    store = opened(
        endpoint, EnvironmentSecrets(settings) if kind == "environment" else PodSecrets(settings, "a")
    )
    assert store.get("a") == b"AKIDPLANTED"
    parcel = pickle.dumps(store)  # of a store that is connected
    assert b"PLANTED" not in parcel
    assert (
        read_elsewhere(parcel, tmp_path, {**VALUES, "DISTILLERY_SECRET_KEYS_AWS_ACCESS_KEY_ID": "NEW"})
        == "NEW"
    )


def test_references_of_the_command_line_travel_too(
    endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "access").write_text("AKIDPLANTED\n")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    store = opened(endpoint, LocalSecrets(Settings({"MY_SECRET": "SECRETPLANTED"}), REFERENCES))
    parcel = pickle.dumps(store)
    assert b"PLANTED" not in parcel
    assert read_elsewhere(parcel, tmp_path / "elsewhere", {"MY_SECRET": "SECRETPLANTED"}) == "AKIDPLANTED"


def test_half_a_pair_of_keys_is_told_before_the_store_goes_anywhere() -> None:
    half = Settings({"DISTILLERY_SECRET_KEYS_AWS_ACCESS_KEY_ID": "AKIDPLANTED"})
    with pytest.raises(SpecError, match="secret keys/AWS_SECRET_ACCESS_KEY") as caught:
        opened("http://127.0.0.1:1", EnvironmentSecrets(half))
    assert "PLANTED" not in str(caught.value)


def test_keys_themselves_refuse_to_travel() -> None:
    with pytest.raises(TypeError, match="do not travel"):
        pickle.dumps(S3Credentials("AKIDPLANTED", "SECRETPLANTED"))
