"""The S3 store against what is no S3 server: a closed port, a web server, silence, no credentials."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from artifacts.places import fixed_keys
from distillery.artifacts.credentials import S3CredentialsReference
from distillery.artifacts.refusals import Place
from distillery.artifacts.s3 import S3Patience, S3Store
from distillery.errors import StageFailed, TransientError

HASTE = S3Patience(attempts=2, connect=0.5, read=0.5, first_contact=1.0, first_read=0.3, pause=0.05)
KEYS = fixed_keys("AKIDPLANTED", "SECRETPLANTED")


class Page(BaseHTTPRequestHandler):
    """Answers every request with the server's `page`: (status, content type, body)."""

    def do_GET(self) -> None:
        status, kind, body = self.server.page  # type: ignore[attr-defined]
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        return


@pytest.fixture
def web() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join(30)


@pytest.fixture
def silent() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def store_at(
    endpoint: str,
    credentials: S3CredentialsReference | None = KEYS,
    patience: S3Patience = HASTE,
    bucket: str = "models",
) -> S3Store:
    return S3Store(
        Place(bucket, f"s3://{bucket}/x", endpoint, "keys", "spec.storage"), "x", credentials, patience
    )


def address(web: ThreadingHTTPServer, status: int, kind: str, body: bytes) -> str:
    web.page = (status, kind, body)  # type: ignore[attr-defined]
    return f"http://127.0.0.1:{web.server_address[1]}"


def refused(store: S3Store, seconds: float = 60.0) -> StageFailed:
    # Told at once, not after the 105 s that an outage is waited for; a loaded machine may take many seconds for it.
    started = time.monotonic()
    with pytest.raises(StageFailed) as caught:
        store.stat("a")
    assert time.monotonic() - started < seconds
    assert caught.value.reason == "StoreUnusable"
    assert "PLANTED" not in str(caught.value)
    store.close()
    return caught.value


def closed_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_a_closed_port_is_told_soon() -> None:
    endpoint = closed_port()
    error = refused(store_at(endpoint, patience=S3Patience()), 15)
    assert error.message == (
        f"cannot list in s3://models/x ({endpoint}): the server does not answer: start it, "
        "or check `endpoint` in spec.storage (EndpointConnectionError)"
    )
    assert error.failure_class == "infrastructure"


def test_a_name_that_nobody_has_is_told_soon() -> None:
    error = refused(store_at("http://no-such-host.invalid:9000"), 30)
    assert "the server does not answer" in error.message


def test_silence_is_told(silent: str) -> None:
    error = refused(store_at(silent))
    assert error.message.endswith("or check `endpoint` in spec.storage (ReadTimeoutError)")


@pytest.mark.soak
def test_silence_is_told_within_15_seconds(silent: str) -> None:
    assert refused(store_at(silent, patience=S3Patience()), 15).failure_class == "infrastructure"


WEB = {
    "a web page": (200, "text/html", b"<html>It works!", "the answer is not that of an S3 server"),
    "a page not found": (
        404,
        "text/html",
        b"<html>Not found</html>",
        "nothing like an S3 bucket answers there",
    ),
    "a login page": (
        401,
        "text/html",
        b"<html>Who are you?</html>",
        "the credentials lack the right to list here",
    ),
    "JSON": (200, "application/json", b'{"status": "ok"}', "the answer is not that of an S3 server"),
    "an empty answer": (404, "text/plain", b"", "nothing like an S3 bucket answers there"),
    "an S3 error that repeats the keys": (
        400,
        "application/xml",
        b"<Error><Code>Odd</Code><Message>key AKIDPLANTED, secret SECRETPLANTED</Message></Error>",
        r"400 Odd \(key •••, secret •••\)",
    ),
}


@pytest.mark.parametrize(("status", "kind", "body", "want"), WEB.values(), ids=WEB.keys())
def test_another_server_in_the_place_is_told(
    web: ThreadingHTTPServer, status: int, kind: str, body: bytes, want: str
) -> None:
    error = refused(store_at(address(web, status, kind, body)))
    assert error.failure_class == ("infrastructure" if status == 200 else "user")
    assert re.search(want, error.message)


def test_tls_to_a_plain_server_is_told(web: ThreadingHTTPServer) -> None:
    endpoint = address(web, 200, "text/plain", b"").replace("http://", "https://")
    error = refused(store_at(endpoint))
    assert "check http or https in `endpoint` of spec.storage" in error.message


def test_a_server_in_trouble_is_transient(web: ThreadingHTTPServer) -> None:
    body = b"<Error><Code>ServiceUnavailable</Code><Message>later</Message></Error>"
    with pytest.raises(TransientError, match="503 ServiceUnavailable"):
        store_at(address(web, 503, "application/xml", body)).stat("a")


def test_no_credentials_at_all_are_told(silent: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    error = refused(store_at(silent, credentials=None))
    assert "no usable credentials: check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY of the secret keys" in (
        error.message
    )
    monkeypatch.setenv("AWS_PROFILE", "no-such-profile")
    assert "no usable credentials" in refused(store_at(silent, credentials=None)).message


def test_an_impossible_bucket_name_is_told(silent: str) -> None:
    error = refused(store_at(silent, bucket="No Bucket!"))
    assert "No Bucket! is no valid bucket" in error.message


def test_pauses_double_up_to_twenty_seconds() -> None:
    patience = S3Patience()
    assert [patience.after(attempt) for attempt in (1, 2, 3, 6, 7, 14)] == [0.5, 1.0, 2.0, 16.0, 20.0, 20.0]
