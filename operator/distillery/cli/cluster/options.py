"""Which cluster and namespace a verb means: the options that kubectl has, under the same names."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from distillery.settings import Settings

DEFAULT_KUBECONFIG = "~/.kube/config"

NameArgument = Annotated[str, typer.Argument(help="Name of the DistillationJob.", metavar="NAME")]
NamespaceOption = Annotated[
    str | None,
    typer.Option("--namespace", "-n", help="Namespace; default that of the context.", metavar="NAMESPACE"),
]
ContextOption = Annotated[
    str | None, typer.Option("--context", help="Context of the kubeconfig.", metavar="CONTEXT")
]
KubeconfigOption = Annotated[
    str | None,
    typer.Option("--kubeconfig", help=f"Default KUBECONFIG, else {DEFAULT_KUBECONFIG}.", metavar="FILE"),
]


@dataclass(frozen=True, slots=True)
class Cluster:
    """The three options as given."""

    kubeconfig: str | None = None
    context: str | None = None
    namespace: str | None = None

    @property
    def given(self) -> bool:
        """Say whether any of them was given."""
        return any(value is not None for value in (self.kubeconfig, self.context, self.namespace))

    def flags(self, namespace: str) -> str:
        """Return the options that lead another command to the same namespace, with a space before each."""
        chosen = {"-n": namespace, "--context": self.context, "--kubeconfig": self.kubeconfig}
        return "".join(f" {option} {value}" for option, value in chosen.items() if value is not None)

    def file(self, settings: Settings) -> str | None:
        """Return the kubeconfig as kubectl finds it; None where there is none, as in a pod.

        Several files, separated as in PATH, are merged; those that do not exist are left out.
        """
        if self.kubeconfig is not None:
            return self.kubeconfig
        named = settings.variable("KUBECONFIG")
        files = (named or DEFAULT_KUBECONFIG).split(os.pathsep)
        found = [file for file in files if file and Path(file).expanduser().is_file()]
        return os.pathsep.join(found) or named or None


HERE = Cluster()
"""The current context and its namespace."""


def takes_cluster(verb: Callable[..., None]) -> Callable[..., None]:
    """Give a verb the three options in place of its parameter `cluster`."""
    options = {"namespace": NamespaceOption, "context": ContextOption, "kubeconfig": KubeconfigOption}

    @wraps(verb)
    def wrapped(**given: Any) -> None:
        chosen = {name: given.pop(name, None) for name in options}
        verb(**given, cluster=Cluster(**chosen))

    parameters = dict(inspect.signature(verb, eval_str=True).parameters)
    del parameters["cluster"]
    for name, option in options.items():
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        parameters[name] = inspect.Parameter(name, kind, default=None, annotation=option)
    wrapped.__signature__ = inspect.Signature(list(parameters.values()))  # type: ignore[attr-defined]
    wrapped.__annotations__ = {name: parameter.annotation for name, parameter in parameters.items()}
    return wrapped
