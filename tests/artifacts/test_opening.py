"""From URIs, endpoints and secrets to stores, and what is told about malformed ones."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

import children
from artifacts.places import ROOT, FixedSecrets
from distillery.api.v1alpha1.common import Storage
from distillery.artifacts.credentials import S3Credentials
from distillery.artifacts.directory import DirectoryStore
from distillery.artifacts.opening import open_location, open_store, source_opener
from distillery.artifacts.s3 import S3Store
from distillery.errors import Problem, SpecError

NONE = FixedSecrets({})
KEYS = {"AWS_ACCESS_KEY_ID": "AKIDPLANTED", "AWS_SECRET_ACCESS_KEY": "SECRETPLANTED"}


def made(store: object) -> dict[str, Any]:
    """Look at what an S3 store was made of, without contacting a server."""
    assert isinstance(store, S3Store)
    return {
        "bucket": store._bucket,
        "prefix": store._prefix,
        "credentials": store._credentials.look_up() if store._credentials else None,
        "endpoint": store._place.endpoint,
        "secret": store._place.credentials_secret,
        "uri": store.uri,
    }


def test_a_file_uri_is_a_folder(tmp_path: Path) -> None:
    store = open_store(Storage(uri=f"file://{tmp_path}/my store%20?"), NONE)
    assert isinstance(store, DirectoryStore)
    assert store.root == tmp_path / "my store%20?"


@pytest.mark.parametrize(
    ("uri", "bucket", "prefix"),
    [
        ("s3://models", "models", ""),
        ("s3://models/", "models", ""),
        ("s3://models/a/b", "models", "a/b/"),
        ("s3://models/a/b/", "models", "a/b/"),
    ],
)
def test_an_s3_uri_is_a_bucket_and_a_prefix(uri: str, bucket: str, prefix: str) -> None:
    storage = Storage(uri=uri, endpoint="http://s3:9000", credentials_secret="keys")
    assert made(open_store(storage, FixedSecrets(KEYS))) == {
        "bucket": bucket,
        "prefix": prefix,
        "credentials": S3Credentials("AKIDPLANTED", "SECRETPLANTED"),
        "endpoint": "http://s3:9000",
        "secret": "keys",
        "uri": uri.rstrip("/"),
    }


def test_without_a_secret_or_without_its_values_boto3_looks_itself() -> None:
    assert made(open_location("s3://models", None, None, FixedSecrets(KEYS)))["credentials"] is None
    assert made(open_location("s3://models", None, "keys", NONE))["credentials"] is None


def test_a_session_token_is_taken_along() -> None:
    secrets = FixedSecrets({**KEYS, "AWS_SESSION_TOKEN": "TOKENPLANTED"})
    credentials = made(open_location("s3://models", None, "keys", secrets))["credentials"]
    assert credentials == S3Credentials("AKIDPLANTED", "SECRETPLANTED", "TOKENPLANTED")
    assert "PLANTED" not in repr(credentials)


@pytest.mark.parametrize("given", KEYS)
def test_half_a_pair_of_keys_is_asked_for_by_name(given: str) -> None:
    (missing,) = set(KEYS) - {given}
    with pytest.raises(KeyError, match=missing):  # FixedSecrets.get stands for the SpecError of real secrets
        open_location("s3://models", None, "keys", FixedSecrets({given: "x"}))


MALFORMED = {
    "a relative file": (
        ("file://store", None),
        Problem(
            "spec.storage.uri",
            "file://store is not an absolute path",
            "write file:///store with the full path",
        ),
    ),
    "another scheme": (
        ("gs://models", None),
        Problem(
            "spec.storage.uri",
            "gs://models has no known scheme",
            "write s3://bucket/prefix or file:///folder",
        ),
    ),
    "a bare path": (
        ("/models", None),
        Problem(
            "spec.storage.uri", "/models has no known scheme", "write s3://bucket/prefix or file:///folder"
        ),
    ),
    "no bucket": (
        ("s3:///models", None),
        Problem("spec.storage.uri", "s3:///models names no bucket", "write s3://bucket/prefix"),
    ),
    "an endpoint without scheme": (
        ("s3://models", "s3:9000"),
        Problem("spec.storage.endpoint", "s3:9000 is no URL", "write http://host:9000 or https://host"),
    ),
    "an endpoint of another scheme": (
        ("s3://models", "ftp://s3:9000"),
        Problem("spec.storage.endpoint", "ftp://s3:9000 is no URL", "write http://host:9000 or https://host"),
    ),
    "an endpoint with keys": (
        ("s3://models", "http://AKIDPLANTED:SECRETPLANTED@s3:9000"),
        Problem(
            "spec.storage.endpoint",
            "the URL holds credentials",
            "put the keys into a Secret and name it in credentialsSecret",
        ),
    ),
}


@pytest.mark.parametrize(("given", "want"), MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_locations_are_told(given: tuple[str, str | None], want: Problem) -> None:
    uri, endpoint = given
    with pytest.raises(SpecError) as caught:
        open_location(uri, endpoint, None, NONE, "spec.storage")
    assert caught.value.problems == (want,)


def test_sources_take_from_the_storage_what_they_leave_out() -> None:
    storage = Storage(uri="s3://models", endpoint="http://s3:9000", credentials_secret="keys")
    open_source = source_opener(storage, FixedSecrets(KEYS))
    like_storage = made(open_source("s3://logs/tickets", None, None))
    assert (like_storage["endpoint"], like_storage["secret"]) == ("http://s3:9000", "keys")
    own = made(open_source("s3://logs/tickets", "http://other:9000", "other"))
    assert (own["endpoint"], own["secret"]) == ("http://other:9000", "other")
    assert open_source("s3://logs/tickets", None, None) is open_source("s3://logs/tickets", None, None)


def test_sources_on_s3_beside_a_local_storage_are_on_aws(tmp_path: Path) -> None:
    for storage in (Storage(uri=f"file://{tmp_path}"), None):
        found = made(source_opener(storage, NONE)("s3://logs", None, None))
        assert (found["endpoint"], found["secret"]) == (None, None)


def test_boto3_is_not_imported_for_folders(tmp_path: Path) -> None:
    code = (
        "import sys; from distillery.artifacts.opening import open_location; "
        f"open_location('file://{tmp_path}', None, None, None).put('a', b'x'); "
        "sys.exit('boto3' in sys.modules or 'pyarrow' in sys.modules)"
    )
    children.run([sys.executable, "-c", code], cwd=ROOT / "operator", check=True)
