"""Why a look could not be finished, as conditions and Events say it: what was tried, the answer, the repair. Pure."""

from __future__ import annotations

import re

from distillery.api.showing import masked
from distillery.api.v1alpha1.conditions import Reason
from distillery.errors import DistilleryError
from distillery.kube import resources
from distillery.kube.errors import Forbidden, NotFound, Unusable
from distillery.kube.resources import Resource

KINDS = {found.plural: found.kind for found in vars(resources).values() if isinstance(found, Resource)}
VERBS = {"get": "read", "update": "write", "patch": "change"}
"""Verbs of the API in words, where they are not the same."""
REQUEST = re.compile(
    r"^(?P<verb>[a-z]+) /apis?/(?:[^/]+/)+?(?:namespaces/[^/]+/)?(?P<plural>[a-z]+)(?P<rest>/.*)?$"
)
"""`what` of the errors of kube/errors.py."""


def is_lasting(error: Exception) -> bool:
    """Say whether only people can mend it; everything else may pass by itself."""
    if isinstance(error, NotFound):
        return error.kind_missing
    return isinstance(error, Forbidden | Unusable)


def reason_of(error: Exception) -> Reason:
    """Return the reason of the condition."""
    return Reason.RECONCILE_ERROR if _is_known(error) else Reason.INTERNAL_ERROR


def explained(error: Exception) -> str:
    """Return what went wrong, in the words of who refused it, with the repair where it is known.

    Of a bug only its kind is told: what an unforeseen exception says may hold anything.
    """
    if not _is_known(error):
        return f"a bug in the operator ({type(error).__name__}): its log has the traceback; it is tried again"
    what, message = getattr(error, "what", ""), getattr(error, "message", "")
    if isinstance(error, NotFound) and error.kind_missing:
        message = "this kind is not installed"
    known = bool(what and message)
    told = f"{_in_words(what)}: {message}" if known else str(error) or type(error).__name__
    repair = _repair(error, what, message)
    return masked(f"{told} → {repair}" if repair else told)


def _is_known(error: Exception) -> bool:
    return isinstance(error, DistilleryError | TimeoutError)


def _in_words(what: str) -> str:
    """Return `cannot create ConfigMap x` for `create /api/v1/namespaces/a/configmaps/x`."""
    found = REQUEST.match(what)
    if found is None:
        return what
    verb, plural = found["verb"], found["plural"]
    name = (found["rest"] or "").strip("/").replace("/", ", ")
    thing = f"{KINDS.get(plural, plural)} {name}" if name else plural
    return f"cannot {VERBS.get(verb, verb)} {thing}"


def _repair(error: Exception, what: str, message: str) -> str:
    match error:
        case NotFound() if error.kind_missing:
            return "install KubeRay" if "ray" in what else "install the CRDs of this release"
        case Forbidden() if "exceeded quota" in message:
            return "raise the quota of the namespace, or delete what is not needed"
        case Forbidden() if " cannot " in message:
            return "give the operator this right: the chart's roles have it"
        case Unusable() if "immutable" in message:
            return "delete that object: it was made by somebody else"
        case _:
            return ""
