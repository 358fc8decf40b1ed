"""Types that several objects share: references, names, money."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, StringConstraints

from distillery.api.base import ApiModel

GROUP = "distillery.dev"
VERSION = "v1alpha1"
API_VERSION: Literal["distillery.dev/v1alpha1"] = "distillery.dev/v1alpha1"

DnsName = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", min_length=1, max_length=63)
]
Text = Annotated[str, StringConstraints(min_length=1, max_length=32768)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=256)]
Uri = Annotated[str, StringConstraints(pattern=r"^(s3|file)://.+", max_length=1024)]
Fraction = Annotated[float, Field(ge=0, le=1)]
MaxFreeFormBytes = 32 * 1024
FreeForm = dict[str, Any]


def _parse_money(value: object) -> object:
    if isinstance(value, float):
        raise ValueError('money is written as a decimal string, for example "2.50"')
    return value


def _check_money(value: Decimal) -> Decimal:
    if value < 0 or not value.is_finite():
        raise ValueError("money must be zero or more")
    return value


Money = Annotated[
    Decimal,
    BeforeValidator(_parse_money),
    AfterValidator(_check_money),
    PlainSerializer(lambda amount: format(amount, "f"), return_type=str),
]
"""An amount in the job's currency, written as a decimal string: floats lose cents."""


class SecretKey(ApiModel):
    """One key of a Secret in the job's namespace; locally see `--secret`."""

    name: DnsName
    """Name of the Secret."""
    key: Name
    """Key within the Secret."""


class Storage(ApiModel):
    """Where artifacts, teacher answers and released models live."""

    uri: Uri
    """`s3://bucket/prefix` or, on one machine, `file:///folder`."""
    endpoint: Name | None = None
    """URL of an S3-compatible server; omitted: AWS."""
    credentials_secret: DnsName | None = None
    """Secret with AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and optionally AWS_SESSION_TOKEN."""


class Metadata(ApiModel):
    """The part of Kubernetes' object metadata that distillery reads; the rest is accepted and ignored."""

    model_config = {"extra": "ignore"}

    name: DnsName
    """Name of the object."""
    namespace: DnsName = "default"
    """Namespace of the object."""
    uid: str | None = None
    """Set by the API server."""
    generation: int = 1
    """Set by the API server; grows with every edit of the spec."""
    annotations: dict[str, str] = Field(default_factory=dict)
    """Control requests arrive here."""
