"""A real S3 server behind a line that fails: calls are repeated, nothing partial appears, races stay decided."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from artifacts.fault_proxy import Fault, FaultProxy, answer, break_body, lose_answer, reset, stall
from artifacts.places import S3_BUCKET, S3_ENDPOINT, S3_KEYS, SECRET, fixed_keys
from distillery.artifacts.refusals import Place
from distillery.artifacts.s3 import S3Patience, S3Store
from distillery.artifacts.store import MissingObject
from distillery.errors import Conflict, StageFailed, TransientError

pytestmark = [
    pytest.mark.s3,
    pytest.mark.skipif(S3_ENDPOINT is None, reason="no S3 server: run `make e2e-s3`"),
]
PASSING: dict[str, Fault] = {
    "connections are reset": reset,
    "500": answer(500, "InternalError"),
    "503": answer(503, "ServiceUnavailable"),
    "slow down": answer(503, "SlowDown"),
}
LARGE = bytes(range(256)) * 4 * 1024 * 12
PART = 5 << 20


@pytest.fixture
def proxy() -> Iterator[FaultProxy]:
    assert S3_ENDPOINT is not None
    with FaultProxy(S3_ENDPOINT) as proxy:
        yield proxy


def opened(endpoint: str | None, prefix: str, patience: S3Patience | None = None) -> S3Store:
    place = Place(S3_BUCKET, f"s3://{S3_BUCKET}/{prefix}", endpoint, SECRET, "spec.storage")
    keys = fixed_keys(S3_KEYS["AWS_ACCESS_KEY_ID"], S3_KEYS["AWS_SECRET_ACCESS_KEY"])
    return S3Store(
        place, prefix, keys, patience or S3Patience(attempts=4, pause=0.02, read=3), part_size=PART
    )


@pytest.fixture
def store(proxy: FaultProxy) -> Iterator[S3Store]:
    store = opened(proxy.endpoint, uuid.uuid4().hex)
    store.put("present", b"content")
    yield store
    store.close()


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING.keys())
def test_small_calls_are_repeated(proxy: FaultProxy, store: S3Store, fault: Fault) -> None:
    proxy.fail_next(fault, 2)
    store.put("a", b"1", if_absent=True)
    assert proxy.pending == 0
    proxy.fail_next(fault, 2)
    assert store.get("a") == b"1"
    proxy.fail_next(fault, 2)
    assert [found.key for found in store.list()] == ["a", "present"]
    proxy.fail_next(fault, 2)
    store.delete("a")
    proxy.fail_next(fault, 2)
    assert store.stat("a") is None


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING.keys())
def test_the_first_contact_is_repeated(proxy: FaultProxy, fault: Fault) -> None:
    proxy.fail_next(fault, 3)
    store = opened(proxy.endpoint, uuid.uuid4().hex)
    assert store.stat("a") is None
    assert proxy.pending == 0
    store.close()


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING.keys())
def test_large_transfers_are_repeated_part_by_part(
    proxy: FaultProxy, store: S3Store, tmp_path: Path, fault: Fault
) -> None:
    (tmp_path / "file").write_bytes(LARGE)
    proxy.fail_next(fault, 2)
    store.upload("large", tmp_path / "file")
    assert proxy.pending == 0
    proxy.fail_next(fault, 2)
    store.download("large", tmp_path / "copy")
    assert proxy.pending == 0
    assert (tmp_path / "copy").read_bytes() == LARGE


def test_a_fault_that_stays_is_transient_and_leaves_nothing(
    proxy: FaultProxy, store: S3Store, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(LARGE)
    for call in (
        lambda: store.put("a", b"1"),
        lambda: store.get("present"),
        lambda: store.stat("present"),
        lambda: list(store.list()),
        lambda: store.delete("present"),
        lambda: store.upload("large", tmp_path / "file"),
        lambda: store.download("present", tmp_path / "copy"),
    ):
        proxy.fail_next(answer(503, "ServiceUnavailable"), 40)
        with pytest.raises(TransientError, match="the server answered 503"):
            call()
        proxy.fail_next(reset, 40)
        with pytest.raises(TransientError, match="connection failed"):
            call()
    proxy.fail_next(reset, 0)
    assert [found.key for found in store.list()] == ["present"]
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_body_that_breaks_off_is_read_again(proxy: FaultProxy, store: S3Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(LARGE)
    store.upload("large", tmp_path / "file")
    proxy.fail_next(break_body(100_000), 2)
    assert store.get("large") == LARGE
    assert proxy.pending == 0
    proxy.fail_next(break_body(100_000), 2)
    store.download("large", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == LARGE


def test_a_body_that_always_breaks_off_is_transient(
    proxy: FaultProxy, store: S3Store, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(LARGE)
    store.upload("large", tmp_path / "file")
    proxy.fail_next(break_body(100_000), 100)
    with pytest.raises(TransientError, match="cannot read large"):
        store.get("large")
    with pytest.raises(TransientError, match="cannot read large"):
        store.download("large", tmp_path / "copy")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_lost_answer_does_not_make_the_writer_lose_against_itself(
    proxy: FaultProxy, store: S3Store
) -> None:
    proxy.fail_next(lose_answer)
    etag = store.put("manifest", b"mine", if_absent=True)
    assert proxy.pending == 0
    facts = store.stat("manifest")
    assert facts is not None
    assert facts.etag == etag
    proxy.fail_next(lose_answer)
    etag = store.put("manifest", b"mine again", if_match=etag)
    assert proxy.pending == 0
    assert store.get("manifest") == b"mine again"
    with pytest.raises(Conflict):
        store.put("manifest", b"mine again", if_absent=True)


def test_a_lost_answer_does_not_hide_that_another_writer_won(proxy: FaultProxy, store: S3Store) -> None:
    store.put("manifest", b"theirs")
    proxy.fail_next(lose_answer)
    with pytest.raises(Conflict):
        store.put("manifest", b"mine", if_absent=True)
    assert store.get("manifest") == b"theirs"


def test_a_conflict_in_progress_is_tried_again(proxy: FaultProxy, store: S3Store) -> None:
    proxy.fail_next(answer(409, "ConditionalRequestConflict"), 2)
    store.put("manifest", b"mine", if_absent=True)
    assert proxy.pending == 0
    proxy.fail_next(answer(409, "ConditionalRequestConflict"), 50)
    with pytest.raises(TransientError, match="409 ConditionalRequestConflict"):
        store.put("other", b"mine", if_absent=True)


def test_a_server_that_falls_silent_is_transient(proxy: FaultProxy, store: S3Store) -> None:
    started = time.monotonic()
    quick = opened(proxy.endpoint, "x", S3Patience(attempts=2, pause=0.02, read=0.5))
    quick.stat("a")
    proxy.fail_next(stall, 10)
    with pytest.raises(TransientError, match=r"connection failed \(ReadTimeoutError\)"):
        quick.get("a")
    assert time.monotonic() - started < 10
    quick.close()


WRONG = {
    "an unknown bucket": ({"bucket": "no-such-bucket"}, "the bucket no-such-bucket does not exist"),
    "an unknown access key": ({"access": "AKIDUNKNOWN"}, "the server does not know the access key"),
    "a wrong secret key": ({"secret": "PLANTEDSECRET"}, "the secret access key is wrong"),
}


@pytest.mark.parametrize(("change", "want"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_setting_is_told_by_name_at_the_first_call(change: dict[str, str], want: str) -> None:
    bucket = change.get("bucket", S3_BUCKET)
    place = Place(bucket, f"s3://{bucket}/x", S3_ENDPOINT, SECRET, "spec.storage")
    access = change.get("access", S3_KEYS["AWS_ACCESS_KEY_ID"])
    secret = change.get("secret", S3_KEYS["AWS_SECRET_ACCESS_KEY"])
    store = S3Store(place, "x", fixed_keys(access, secret))
    started = time.monotonic()
    with pytest.raises(StageFailed, match=want) as caught:
        store.put("a", b"x")
    assert (caught.value.reason, caught.value.failure_class) == ("StoreUnusable", "user")
    assert time.monotonic() - started < 15
    for value in (access, secret):
        assert value not in str(caught.value)
    assert caught.value.__cause__ is None
    store.close()


def test_a_missing_object_is_not_confused_with_a_fault(proxy: FaultProxy, store: S3Store) -> None:
    proxy.fail_next(answer(500, "InternalError"), 1)
    with pytest.raises(MissingObject):
        store.get("missing")
