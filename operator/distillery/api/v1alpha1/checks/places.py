"""Contradictions in addresses: of the storage, of sources, of a base model, of servers."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from distillery.api.v1alpha1.common import Storage
from distillery.api.v1alpha1.dataset import Source
from distillery.api.v1alpha1.distillation_job import DistillationJobSpec
from distillery.errors import Problem


def _folders(spec: DistillationJobSpec) -> Iterator[tuple[str, Storage | Source]]:
    if spec.storage is not None:
        yield "spec.storage", spec.storage
    for index, source in enumerate(spec.dataset.sources):
        yield f"spec.dataset.sources[{index}]", source


def files_have_a_server(spec: DistillationJobSpec) -> Iterator[Problem]:
    """Server or credentials are given for files on this machine."""
    for path, place in _folders(spec):
        yield from server_of_files(path, place)


def server_of_files(path: str, place: Storage | Source) -> Iterator[Problem]:
    """Yield what an address of files has, but only one in S3 can use."""
    if place.uri.startswith("s3://"):
        return
    for name, value in (("endpoint", place.endpoint), ("credentialsSecret", place.credentials_secret)):
        if value is not None:
            yield Problem(f"{path}.{name}", "is for s3:// only, but the uri is a file's", "remove it")


def folders_have_wildcards(spec: DistillationJobSpec) -> Iterator[Problem]:
    """A wildcard stands where one folder is wanted."""
    storage, base = spec.storage, spec.student.base
    if storage is not None:
        yield from wildcards("spec.storage.uri", storage.uri)
    yield from wildcards("spec.student.base.uri", base.uri)


def wildcards(path: str, uri: str | None) -> Iterator[Problem]:
    """Yield that an address stands for several folders."""
    if uri and any(sign in uri for sign in "*?["):
        yield Problem(path, f"{uri!r} has wildcards, but one folder is wanted", "name the folder")


def addresses_hold_more(spec: DistillationJobSpec) -> Iterator[Problem]:
    """A server's address holds a password, or a query that would be lost."""
    places = [(f"{path}.endpoint", place.endpoint) for path, place in _folders(spec)]
    for path, url in [*places, ("spec.teacher.endpoint.url", spec.teacher.endpoint.url)]:
        yield from rest_of_address(path, url)


def rest_of_address(path: str, url: str | None) -> Iterator[Problem]:
    """Yield what a server's address must not hold. The address itself is not repeated: it may be secret."""
    if url is None:
        return
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - reading it is what checks it
    except ValueError:
        yield Problem(path, "is no address of a server", "write https://host:port/path")
        return
    if "@" in parts.netloc:
        yield Problem(path, "holds a user name or password", "put secrets into a Secret and name it here")
    if parts.query or parts.fragment:
        yield Problem(path, "has a part after '?' or '#', which would be lost", "remove it")
