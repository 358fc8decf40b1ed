"""Types that several objects share: references, names, money."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, ConfigDict, Field, PlainSerializer, StringConstraints, WithJsonSchema
from pydantic_core import PydanticCustomError

from distillery.api.base import ApiModel

GROUP: Final = "distillery.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Literal["distillery.dev/v1alpha1"] = "distillery.dev/v1alpha1"

DNS_NAME: Final = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
STORE_URI: Final = r"^(s3://[a-z0-9][a-z0-9.-]*(/.*)?|file://.+)$"
HTTP_URL: Final = r"^https?://[^\s/]+[^\s]*$"
HUB_ID: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?$"
SECRET_KEY: Final = r"^[-._a-zA-Z0-9]+$"
CURRENCY: Final = r"^[A-Z]{3}$"
MONEY: Final = r"^[0-9]{1,12}(\.[0-9]{1,6})?$"
RESOURCE: Final = r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"
QUANTITY: Final = r"^[0-9]{1,12}(\.[0-9]{1,9})?(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$"
DURATION: Final = r"^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?$"

DnsName = Annotated[str, StringConstraints(pattern=DNS_NAME, min_length=1, max_length=63)]
Text = Annotated[str, StringConstraints(min_length=1, max_length=32768)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=256)]
Uri = Annotated[str, StringConstraints(pattern=STORE_URI, max_length=1024)]
Url = Annotated[str, StringConstraints(pattern=HTTP_URL, max_length=1024)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]
FreeForm = Annotated[dict[str, Any], Field(max_length=256)]
"""Fields that somebody else defines; at most MAX_FREE_FORM_BYTES as JSON and MAX_FREE_FORM_DEPTH deep."""
MAX_FREE_FORM_BYTES: Final = 32 * 1024
MAX_FREE_FORM_TOTAL: Final = 256 * 1024
"""Of all such fields of an object together."""
MAX_FREE_FORM_DEPTH: Final = 64
"""Mappings and lists inside one another, the field itself among them."""


def _read_money(value: object) -> Decimal:
    if isinstance(value, str) and re.fullmatch(MONEY, value):
        return Decimal(value)
    if isinstance(value, Decimal) and value.is_finite() and value >= 0:
        return value
    raise PydanticCustomError("money", "not a decimal string such as 2.50 in quotes")


Money = Annotated[
    Decimal,
    BeforeValidator(_read_money),
    WithJsonSchema({"type": "string", "pattern": MONEY, "maxLength": 19}),
    PlainSerializer(lambda amount: format(amount, "f"), return_type=str),
]
"""An amount in the job's currency, written as a decimal string with at most 12 digits and 6 decimals."""


def _read_quantity(value: object) -> str:
    if isinstance(value, str) and re.fullmatch(QUANTITY, value):
        return value
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**12:
        return str(value)
    raise PydanticCustomError("quantity", "not a quantity such as 4, 500m or 16Gi")


Quantity = Annotated[
    str,
    BeforeValidator(_read_quantity),
    WithJsonSchema(
        {"type": "string", "pattern": QUANTITY, "maxLength": 32, "x-kubernetes-int-or-string": True}
    ),
]
"""An amount of a resource as Kubernetes writes it; a whole number is read as its text."""
ResourceName = Annotated[str, StringConstraints(pattern=RESOURCE, min_length=1, max_length=253)]
Resources = Annotated[dict[ResourceName, Quantity], Field(max_length=16)]

Duration = Annotated[str, StringConstraints(pattern=DURATION, min_length=1, max_length=21)]
"""A span of time such as `90s`, `15m` or `1h30m`."""


def seconds_of(duration: str) -> int:
    """Return the seconds of a Duration."""
    factors = {"h": 3600, "m": 60, "s": 1}
    return sum(int(amount) * factors[unit] for amount, unit in re.findall(r"([0-9]+)([hms])", duration))


class Workers(ApiModel):
    """Pods that share the work of a stage; a local run needs none."""

    replicas: Annotated[int, Field(ge=1, le=64)] = 1
    """How many."""
    resources: Resources = {}
    """What each takes: `cpu: 4`, `memory: 16Gi`, `nvidia.com/gpu: 1`. CPU is requested, everything else is requested
    and limited alike; what is omitted comes from the profile."""
    limits: Resources | None = None
    """The most that each gets of `cpu` and `memory`, for example `memory: 64Gi`; omitted: CPU has no limit."""


def gpus_of_worker(resources: Mapping[str, str]) -> int:
    """Return the GPUs among the resources of one worker: every resource whose name ends in `/gpu`.

    Amounts that are no whole number do not pass validation and count as 0.
    """
    return sum(
        int(amount)
        for name, amount in resources.items()
        if name.rpartition("/")[2] == "gpu" and amount.isdecimal()
    )


class SecretKey(ApiModel):
    """One key of a Secret in the job's namespace; locally see `--secret`."""

    name: DnsName
    """Name of the Secret."""
    key: Annotated[str, StringConstraints(pattern=SECRET_KEY, max_length=253)]
    """Key within the Secret: its name, never the value."""


S3_ACCESS_KEY: Final = "AWS_ACCESS_KEY_ID"
S3_SECRET_KEY: Final = "AWS_SECRET_ACCESS_KEY"
S3_SESSION_TOKEN: Final = "AWS_SESSION_TOKEN"


class Storage(ApiModel):
    """Where artifacts, teacher answers and released models live."""

    uri: Uri
    """`s3://bucket/prefix` or, on one machine, `file:///folder`."""
    endpoint: Url | None = None
    """URL of an S3-compatible server; omitted: AWS."""
    credentials_secret: DnsName | None = None
    """Secret with AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and optionally AWS_SESSION_TOKEN."""


AnnotationKey = Annotated[str, Field(max_length=317)]
Annotation = Annotated[str, Field(max_length=262144)]


class Metadata(ApiModel):
    """The part of Kubernetes' object metadata that distillery reads; the rest is accepted and ignored."""

    model_config = ConfigDict(extra="ignore")

    name: DnsName
    """Name of the object."""
    namespace: DnsName = "default"
    """Namespace of the object."""
    uid: Name | None = None
    """Set by the API server."""
    generation: Annotated[int, Field(ge=0)] = 1
    """Set by the API server; grows with every edit of the spec."""
    annotations: Annotated[dict[AnnotationKey, Annotation], Field(max_length=256)] = {}
    """Control requests arrive here."""
