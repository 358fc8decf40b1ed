"""A real kube-apiserver for the tests in this folder: `apiserver` gives a kubeconfig; our CRDs and KubeRay's are in."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from children import pytest_runtest_call
from distillery.kube.resources import NAMESPACES
from kube.apiserver import ApiServer, install_crds

__all__ = ["apiserver", "namespace", "pytest_configure", "pytest_runtest_call"]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "kube: needs a real kube-apiserver, made by e2e/cluster")


@pytest.fixture(scope="session")
def apiserver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """One API server for the session, with the CRDs. Tests use namespaces of their own."""
    server = ApiServer(tmp_path_factory.mktemp("apiserver"))
    server.start()
    try:
        server.act(install_crds)
        yield server
    finally:
        server.stop()


@pytest.fixture
def namespace(apiserver: ApiServer, request: pytest.FixtureRequest) -> str:
    """A namespace for one test."""
    name = request.node.name.split("[")[0].replace("_", "-")[:50].strip("-") + f"-{os.urandom(3).hex()}"
    apiserver.act(lambda kube: kube.create(NAMESPACES, {"metadata": {"name": name}}))
    return name
