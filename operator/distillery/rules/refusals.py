"""What a refusal looks like: beginnings of answers that decline the task, in a few languages.

Each pattern wants an inability *and* what the assistant is unable to do: "I'm sorry to hear that" and "I
cannot find your invoice" are good answers of many tasks.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

SEARCHED_CHARACTERS = 400
"""Refusals begin the answer; a long answer may well quote one further down."""


@dataclass(frozen=True, slots=True)
class _Decline:
    """How one language declines: optional apology, inability, and the acts it covers."""

    apology: str
    inability: str
    acts: str

    def pattern(self) -> str:
        return rf"^\W*(?:(?:{self.apology})\W{{0,3}})?(?:{self.inability})(?:{self.acts})"


_ENGLISH_ACTS = (
    r"(?: to| be able to)?(?: \w+ly)? (?:assist|help|comply|fulfil|"
    r"(?:answer|respond|provide|generate|create|write|classify|complete|process|discuss|continue|engage|do)"
    r"(?: \w+){0,3}? (?:that|this|these|such|requests?|content|questions?|conversation))\b"
)
_DECLINES = (
    _Decline(  # English
        r"(?:(?:i'?m|i am) (?:\w+ )?sorry|sorry|(?:my )?apologies|i (?:\w+ )?apologi[sz]e|unfortunately)"
        r"(?: for [\w ]{1,30})?(?:\W{1,3}(?:but|however))?(?:\W{1,3}as an? [\w ]{2,40})?",
        r"i(?:'m| am)?(?: \w+ly| just)? (?:can'?t|can ?not|won'?t|will not|not able|unable|"
        r"(?:must|have to) (?:\w+ )?decline)",
        _ENGLISH_ACTS,
    ),
    _Decline(  # German
        r"(?:es )?tut mir (?:\w+ )?leid|entschuldigung|leider",
        r"(?:aber )?(?:ich (?:kann|darf)|(?:kann|darf) ich)\b.{0,60}\b(?:nicht|keine?)\b.{0,40}\b",
        r"(?:weiter)?helfen|beantworten|unterstützen|erfüllen|nachkommen",
    ),
    _Decline(  # French
        r"(?:je suis )?(?:\w+ )?désolée?|je m'excuse|malheureusement",
        r"(?:mais )?je (?:ne peux pas|ne pourrai pas|ne suis pas en mesure)\b.{0,30}",
        r"\b(?:d'|vous |t'|l')?(?:aider|répondre|assister|accéder à (?:cette|votre) demande)",
    ),
    _Decline(  # Spanish
        r"lo siento|lo lamento|perdón|disculp\w+",
        r"(?:pero )?no (?:puedo|podré|me es posible)\b.{0,30}",
        r"\b(?:ayudar|responder|asistir|cumplir)",
    ),
    _Decline(  # Italian
        r"mi dispiace|spiacente|purtroppo",
        r"(?:ma )?non (?:posso|sono in grado di)\b.{0,30}",
        r"\b(?:aiutar|risponder|assister|soddisfar)",
    ),
    _Decline(  # Portuguese
        r"desculpe|sinto muito|lamento|infelizmente",
        r"(?:mas )?não (?:posso|consigo)\b.{0,30}",
        r"\b(?:ajudar|responder|atender|auxiliar)",
    ),
    _Decline(  # Dutch
        r"het spijt me|sorry|helaas",
        r"(?:maar )?(?:ik kan|kan ik)\b.{0,40}\b(?:niet|geen)\b.{0,30}\b",
        r"helpen|beantwoorden|assisteren",
    ),
    _Decline(  # Russian
        r"извините|простите|к сожалению",
        r"(?:но )?я не могу\b.{0,30}\b",
        r"помочь|ответить|выполнить",
    ),
    _Decline(  # Chinese
        r"(?:非常|很)?(?:抱歉|对不起|不好意思)",
        r".{0,12}(?:无法|不能|没办法).{0,12}",
        r"提供|回答|帮助|协助|满足|完成|处理|回应",
    ),
    _Decline(  # Japanese
        r"(?:大変)?申し訳(?:ありません|ございません)が?|すみませんが?|恐れ入りますが",
        r".{0,40}(?:お手伝い|お答え|対応|回答|提供).{0,8}",
        r"できません|できかねます|いたしかねます",
    ),
)
_OTHERS = (
    r"^.{0,60}\bas an? (?:\w+ )?(?:ai|artificial intelligence|language model)\b",
    r"^\W*(?:i'?m sorry\W{1,3}(?:but )?)?i do(?: not|n'?t) have (?:enough|sufficient) "
    r"(?:information|context) to ",
    r"^\W*(?:(?:i'?m |i am )?sorry\W{1,3}(?:but )?)?th(?:at|is) (?:request )?(?:goes|is) against (?:my|our) ",
)
_FLAGS = re.IGNORECASE | re.DOTALL


def is_refusal(text: str) -> bool:
    """Return whether `text` begins like a refusal."""
    beginning = text[:SEARCHED_CHARACTERS].replace("’", "'")
    return any(pattern.search(beginning) for pattern in _compiled())


def compile_patterns(patterns: Sequence[str]) -> tuple[re.Pattern[str], ...]:
    """Compile a task's own patterns: searched anywhere, case-insensitive. Raises: re.error."""
    return tuple(re.compile(pattern, _FLAGS) for pattern in patterns)


@lru_cache(maxsize=1)
def _compiled() -> tuple[re.Pattern[str], ...]:
    return compile_patterns([*(decline.pattern() for decline in _DECLINES), *_OTHERS])
