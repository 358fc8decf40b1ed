"""Finding the cluster: the pod's ServiceAccount, or a kubeconfig. The library reads files and their variables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.config import ConfigException, load_incluster_config, load_kube_config

from distillery.kube.errors import NoCluster

NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
DEFAULT_NAMESPACE = "default"
USER_AGENT = "distillery"
"""The API server also records it as the field manager of what is written."""


async def open_client(kubeconfig: str | None, context: str | None) -> tuple[ApiClient, str]:
    """Return a client and the namespace it stands in.

    A pod uses its ServiceAccount, whose rotating token is read again every minute, unless a kubeconfig or a context
    is asked for. Raises: NoCluster.
    """
    configuration = Configuration()
    # From 3.13 on, Python refuses authorities without the extensions that RFC 5280 wants, as many clusters have them.
    # Whom they have signed is checked as ever.
    configuration.disable_strict_ssl_verification = True
    namespace = None
    if kubeconfig is None and context is None:
        namespace = _load_service_account(configuration)
    if namespace is None:
        namespace = await _load_kubeconfig(configuration, kubeconfig, context)
    client = ApiClient(configuration)
    client.user_agent = USER_AGENT
    return client, namespace


def _load_service_account(configuration: Configuration) -> str | None:
    try:
        load_incluster_config(configuration)  # type: ignore[no-untyped-call]
    except ConfigException:
        return None
    try:
        return NAMESPACE_FILE.read_text().strip() or DEFAULT_NAMESPACE
    except OSError:
        return DEFAULT_NAMESPACE


async def _load_kubeconfig(configuration: Configuration, kubeconfig: str | None, context: str | None) -> str:
    if kubeconfig is not None and not Path(kubeconfig.split(":")[0]).expanduser().is_file():
        raise NoCluster(
            f"kubeconfig {kubeconfig} does not exist → name a file with --kubeconfig or KUBECONFIG"
        )
    try:
        loader = await load_kube_config(kubeconfig, context, configuration)  # type: ignore[no-untyped-call]
    except (ConfigException, yaml.YAMLError, OSError, TypeError, AttributeError) as error:
        # The library fails in all these ways on a missing, empty or malformed file.
        raise NoCluster(
            f"no usable kubeconfig: {error} → name one with --kubeconfig or KUBECONFIG"
        ) from error
    return _namespace_of(loader.current_context)


def _namespace_of(context: Any) -> str:
    inner = context.get("context") if isinstance(context, dict) else None
    namespace = inner.get("namespace") if isinstance(inner, dict) else None
    return str(namespace) if namespace else DEFAULT_NAMESPACE
