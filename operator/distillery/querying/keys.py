"""By what name an answer is found again: a digest of everything that changes it. Pure.

`topLogprobs` is left out: an answer with more alternatives serves a question for fewer. So are the address,
the key and the labels, which the teacher never sees.
"""

from __future__ import annotations

from distillery.artifacts.manifest import digest
from distillery.querying.answers import Question
from distillery.querying.settings import TeacherSettings

KEY_VERSION = 1


def teacher_digest(settings: TeacherSettings) -> str:
    """Return the name of the teacher's part of the answer cache."""
    return digest({"version": KEY_VERSION, "identity": settings.identity})


def key_base(settings: TeacherSettings) -> dict[str, object]:
    """Return the part of the key material that all questions to one teacher share."""
    parameters = settings.parameters
    return {
        "version": KEY_VERSION,
        "identity": settings.identity,
        "model": settings.model,
        "revision": settings.revision,
        "maxTokens": parameters.max_tokens,
        "topP": parameters.top_p,
        "stop": parameters.stop,
        "seed": parameters.seed,
        "schema": settings.response_schema,
    }


def question_key(base: dict[str, object], settings: TeacherSettings, question: Question) -> str:
    """Return the key of one question, given `key_base(settings)`."""
    return digest(
        {
            **base,
            "temperature": temperature_of(settings, question),
            "messages": question.messages,
            "sample": question.sample_index,
        }
    )


def temperature_of(settings: TeacherSettings, question: Question) -> float:
    """Return the temperature at which a question is asked."""
    own = question.temperature
    return float(settings.parameters.temperature if own is None else own)
