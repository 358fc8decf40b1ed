"""How a teacher is asked, gathered from several sections: one configuration model for the stages that ask it. Pure."""

from __future__ import annotations

from typing import Any

from distillery.api.base import WireModel
from distillery.api.v1alpha1.common import Money, SecretKey
from distillery.api.v1alpha1.task import Output
from distillery.api.v1alpha1.teacher import Parameters, Pricing, RateLimits


class TeacherSettings(WireModel):
    """What the engine needs to know, beside the key itself.

    The first block changes answers and belongs to recipes (`recipe_part`); the second says how they are
    bought.
    """

    identity: str
    """Names the teacher in the answer cache."""
    model: str
    revision: str | None = None
    parameters: Parameters = Parameters()
    system_prompt: str | None = None
    output: Output

    url: str
    api_key_secret: SecretKey | None = None
    rate_limits: RateLimits = RateLimits()
    pricing: Pricing | None = None
    max_cost: Money | None = None
    currency: str = "USD"

    @property
    def response_schema(self) -> dict[str, Any] | None:
        """The JSON schema sent as `response_format`, or None where the task has none."""
        return self.output.schema_ if self.output.format == "json" else None

    def recipe_part(self) -> dict[str, object]:
        """Return what changes answers: not the address, the key, limits or prices.

        The labels are missing on purpose: the teacher learns of them only through the system prompt.
        """
        part: dict[str, object] = {
            "identity": self.identity,
            "model": self.model,
            "parameters": self.parameters.model_dump(mode="json", by_alias=True, exclude_none=True),
        }
        if self.revision is not None:
            part["revision"] = self.revision
        if self.system_prompt is not None:
            part["systemPrompt"] = self.system_prompt
        if self.response_schema is not None:
            part["responseSchema"] = self.response_schema
        return part


def show_url(url: str) -> str:
    """Return a URL for names and messages: without user, password, query and fragment."""
    scheme, separator, rest = url.partition("://")
    rest = rest.split("?", 1)[0].split("#", 1)[0]
    host, slash, path = rest.partition("/")
    return f"{scheme}{separator}{host.rpartition('@')[2]}{slash}{path}"
