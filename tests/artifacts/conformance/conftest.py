"""The stores under test. Each test gets an empty one."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from artifacts.places import S3_BUCKET, S3_ENDPOINT, Place
from distillery.artifacts.store import ObjectStore

needs_server = pytest.mark.skipif(S3_ENDPOINT is None, reason="no S3 server: run `make e2e-s3`")


@pytest.fixture(params=["directory", pytest.param("s3", marks=[pytest.mark.s3, needs_server])])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "directory":
        return Place(f"file://{tmp_path}/store")
    return Place(f"s3://{S3_BUCKET}/{uuid.uuid4().hex}/prefix", S3_ENDPOINT)


@pytest.fixture
def store(place: Place) -> Iterator[ObjectStore]:
    store = place.open()
    yield store
    if place.on_s3:
        store.close()  # type: ignore[attr-defined]
