"""From a URI to a store: `file:///folder` or `s3://bucket/prefix`. boto3 is imported only for the latter."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from distillery.api.v1alpha1.common import Storage
from distillery.artifacts.credentials import S3CredentialsReference, SecretValues
from distillery.artifacts.directory import DirectoryStore
from distillery.artifacts.refusals import Place
from distillery.artifacts.store import ObjectStore
from distillery.errors import Problem, SpecError

OpenSource = Callable[[str, str | None, str | None], ObjectStore]


def open_store(storage: Storage, secrets: SecretValues) -> ObjectStore:
    """Open the store of a job. The first call on it contacts the server.

    Raises: SpecError for a malformed URI or endpoint, or half a pair of keys.
    """
    return open_location(storage.uri, storage.endpoint, storage.credentials_secret, secrets, "spec.storage")


def open_location(
    uri: str,
    endpoint: str | None,
    credentials_secret: str | None,
    secrets: SecretValues,
    field: str = "the source",
) -> ObjectStore:
    """Open the folder or prefix `uri`, for a job's storage, a source or a base model.

    The keys in the Secret are used if it has them, else boto3 looks for credentials in its own places. They are
    looked at here to tell early what is missing, and again wherever the store, which keeps none, is used.

    Args:
        uri: `file:///folder` or `s3://bucket/prefix`, without globs.
        endpoint: URL of an S3-compatible server; None for AWS.
        credentials_secret: name of the Secret with the keys.
        secrets: resolves references.
        field: what names the location, for messages: `spec.storage`.

    Raises:
        SpecError: the URI or the endpoint is malformed, or only one of the two keys is given.
    """
    scheme, separator, rest = uri.partition("://")
    if separator and scheme == "file":
        if not rest.startswith("/"):
            repair = f"write file:///{rest} with the full path"
            raise SpecError(Problem(f"{field}.uri", f"{uri} is not an absolute path", repair))
        return DirectoryStore(Path(rest))
    if separator and scheme == "s3":
        return _open_s3(uri, endpoint, credentials_secret, secrets, field)
    raise SpecError(
        Problem(f"{field}.uri", f"{uri} has no known scheme", "write s3://bucket/prefix or file:///folder")
    )


def source_opener(storage: Storage | None, secrets: SecretValues) -> OpenSource:
    """Return what opens sources and base models: (folder URI, endpoint, credentials secret) → store.

    What a source on S3 leaves out is taken from the storage. Equal arguments give the same store.
    """
    opened: dict[tuple[str, str | None, str | None], ObjectStore] = {}

    def open_source(uri: str, endpoint: str | None, credentials_secret: str | None) -> ObjectStore:
        if storage is not None and storage.uri.startswith("s3://"):
            endpoint = endpoint or storage.endpoint
            credentials_secret = credentials_secret or storage.credentials_secret
        key = (uri, endpoint, credentials_secret)
        if key not in opened:
            opened[key] = open_location(uri, endpoint, credentials_secret, secrets)
        return opened[key]

    return open_source


def _open_s3(
    uri: str, endpoint: str | None, credentials_secret: str | None, secrets: SecretValues, field: str
) -> ObjectStore:
    from distillery.artifacts.s3 import S3Store  # lazy: boto3 takes half a second

    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    if not bucket:
        raise SpecError(Problem(f"{field}.uri", f"{uri} names no bucket", "write s3://bucket/prefix"))
    if endpoint is not None:
        _check_endpoint(endpoint, field)
    credentials = None
    if credentials_secret is not None:
        credentials = S3CredentialsReference(credentials_secret, secrets)
        credentials.look_up()  # half a pair of keys is told now
    place = Place(bucket, uri.rstrip("/"), endpoint, credentials_secret, field)
    return S3Store(place, prefix, credentials)


def _check_endpoint(endpoint: str, field: str) -> None:
    scheme, separator, rest = endpoint.partition("://")
    host = rest.partition("/")[0]
    path = f"{field}.endpoint"
    if "@" in host:
        # Not repeated: what stands before the @ is a secret.
        repair = "put the keys into a Secret and name it in credentialsSecret"
        raise SpecError(Problem(path, "the URL holds credentials", repair))
    if not separator or scheme not in ("http", "https") or not host:
        raise SpecError(Problem(path, f"{endpoint} is no URL", "write http://host:9000 or https://host"))
