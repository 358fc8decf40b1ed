"""What is sent: the body of a chat completion request. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from distillery.querying.answers import Question
from distillery.querying.keys import temperature_of
from distillery.querying.settings import TeacherSettings


class RequestBuilder:
    """Builds request bodies; what all questions share is made once."""

    def __init__(self, settings: TeacherSettings) -> None:
        self._settings = settings
        parameters = settings.parameters
        shared: dict[str, Any] = {"model": settings.model, "max_tokens": parameters.max_tokens}
        if parameters.top_p is not None:
            shared["top_p"] = parameters.top_p
        if parameters.stop:
            shared["stop"] = parameters.stop
        if parameters.top_logprobs:
            shared |= {"logprobs": True, "top_logprobs": parameters.top_logprobs}
        if settings.response_schema is not None:
            schema = {"name": "answer", "schema": settings.response_schema}
            shared["response_format"] = {"type": "json_schema", "json_schema": schema}
        self._shared = shared

    def body(self, question: Question) -> bytes:
        """Return the JSON body of one question.

        A seeded teacher would repeat itself, so each sample gets a seed of its own: seed + sample index.

        Raises: ValueError for text that UTF-8 cannot encode.
        """
        request = {
            **self._shared,
            "messages": question.messages,
            "temperature": temperature_of(self._settings, question),
        }
        if (seed := self._settings.parameters.seed) is not None:
            request["seed"] = seed + question.sample_index
        return msgspec.json.encode(request)
