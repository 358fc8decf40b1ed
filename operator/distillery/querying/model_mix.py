"""What one engine has to remark on its teacher, each remark once: above all that models are mixed."""

from __future__ import annotations

from distillery.querying.answers import Warn
from distillery.querying.journal import AnswerRecord
from distillery.querying.replies import Completed


class ModelMixWarner:
    """Remembers which models answered and what was warned of."""

    def __init__(self, warn: Warn) -> None:
        self._warn = warn
        self._models: set[str] = set()
        self._fingerprints: set[str] = set()
        self._warned: set[str] = set()

    def warn_once(self, topic: str, message: str) -> None:
        """Warn, but once per topic."""
        if topic not in self._warned:
            self._warned.add(topic)
            self._warn(message)

    def note(self, answer: Completed | AnswerRecord) -> None:
        """Take note of which model answered; a mixture warns."""
        if answer.model:
            self._models.add(answer.model)
        if answer.fingerprint:
            self._fingerprints.add(answer.fingerprint)
        if len(self._models) > 1:
            names = ", ".join(sorted(self._models))
            repair = "pin a version in spec.teacher.model, or set spec.teacher.revision to buy again"
            self.warn_once("models", f"answers come from different models ({names}) → {repair}")
        if len(self._fingerprints) > 1:
            count = "answers carry different system fingerprints: the provider changed something in between"
            self.warn_once("fingerprints", count)
