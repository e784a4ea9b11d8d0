"""What a goal is: an instruction to the player in English, a verb in its base form first, within the limits.

A text is taken for a goal because it has that form, not because nothing is known against it. The verbs are a list that
ships with the project (`verbs.txt`), the words of the goals that were told in the recording, and those of
`CheckConfig.verbs`; a first word that none of them knows is asked again rather than let through.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Collection
from dataclasses import astuple, dataclass
from enum import StrEnum
from functools import cache
from importlib import resources
from itertools import count

from vlm_agent.errors import ConfigError

_VERSION = 2
"""Labels of another version are made anew; goes up when answers are read or judged otherwise."""


class LabelProblem(StrEnum):
    """Why a text can't be a goal."""

    EMPTY = "empty"
    """Nothing is left when what is around an answer is taken off."""
    THOUGHT_ONLY = "thought_only"
    """A thought that comes to no answer."""
    REFUSED = "no_goal_said"
    """It says that there is no goal, or that none can be seen."""
    REPETITION = "repetition"
    """It says the same again and again."""
    OTHER_LANGUAGE = "other_language"
    """It isn't English."""
    MARKUP = "markup"
    """Code or data rather than words."""
    QUESTION = "question"
    """It asks."""
    NO_INSTRUCTION = "no_instruction"
    """It doesn't begin with a verb in its base form, or goes on as a statement."""
    ALTERNATIVES = "alternatives"
    """One goal or another."""
    SEVERAL = "several_goals"
    """More than one goal."""
    CUT_SHORT = "cut_short"
    """It ends in the middle."""
    ABOUT_ITSELF = "about_itself"
    """It speaks of the clip, the pictures or the question."""
    TOO_SHORT = "too_short_label"
    """Fewer words than asked for."""
    TOO_LONG = "too_long_label"
    """More words or characters than asked for."""


EXPLANATIONS = {
    LabelProblem.EMPTY: "it is empty",
    LabelProblem.THOUGHT_ONLY: "it is a thought without an answer",
    LabelProblem.OTHER_LANGUAGE: "it is not in English",
    LabelProblem.MARKUP: "it is code or data, not words",
    LabelProblem.QUESTION: "it is a question",
    LabelProblem.NO_INSTRUCTION: "it is not an instruction that begins with a verb such as open, go or craft",
    LabelProblem.ALTERNATIVES: "it leaves a choice; name the likeliest goal alone",
    LabelProblem.SEVERAL: "it names several goals; name one",
    LabelProblem.CUT_SHORT: "it ends in the middle",
    LabelProblem.ABOUT_ITSELF: "it is about the pictures or the question, not about the game",
    LabelProblem.TOO_SHORT: "it is too short",
    LabelProblem.TOO_LONG: "it is too long",
}
"""What the model is told when it is asked again. The other problems are final: a second question would not help."""


@dataclass(frozen=True)
class CheckConfig:
    """What a goal may look like."""

    min_words: int = 2
    """Fewest words."""
    max_words: int = 8
    """Most words."""
    max_chars: int = 60
    """Most characters."""
    verbs: tuple[str, ...] = ()
    """Verbs of your game that goals may begin with, besides the common ones (`labeling/verbs.txt`)."""

    def __post_init__(self) -> None:
        """Raise ConfigError for limits that let nothing through."""
        if not 1 <= self.min_words <= self.max_words or self.max_chars < 1:
            raise ConfigError(f"label limits let nothing through: {self}")
        wrong = [verb for verb in self.verbs if len(verb.split()) != 1]
        if wrong:
            raise ConfigError(f"a verb that goals may begin with is one word, got {wrong[0]!r}")

    @property
    def fingerprint(self) -> str:
        """Identify how answers are judged: code, list of verbs and limits."""
        return hashlib.sha256(repr((_VERSION, sorted(_common_verbs()), astuple(self))).encode()).hexdigest()[:8]


QUOTED = re.compile(r"\"[^\"\n]*\"|(?<!\w)'[^'\n]*'(?!\w)")
"""A quotation: the game's words, not the goal's."""
_WORD = re.compile(r"[^\W\d_]+(?:[-+][^\W\d_]+)*")
_ADVERB = re.compile(r"[a-z]{3,}ly")
_OPENERS = frozenset({"don't", "dont", "never", "always"})
_TWO_WORDS = re.compile(
    r"(?:left|right|middle|double|triple|single|shift|ctrl|control|alt|long) (?:click|press|drag|tap|scroll)\b"
    r"|(?:fast|quick|auto|dual|hot|fine|hard|soft|cold)"
    r" (?:attack|boot|equip|load|reset|restart|save|swap|travel|tune|wield)\b"
)
"""Verbs of two words."""
_FINITE = re.compile(r"(?:is|are|was|were|has|had|will|would|does|did)(?:n't)?|am|seems|appears")
"""Verbs of statements: `bank is open` begins with a verb, too."""
_CLAUSE = re.compile(
    r"until|till|when|while|that|which|who|whose|what|where|why|how|if|whether|as|because|before|after|once|sure|so|than"
)
"""After these a statement may follow in an instruction."""
_FOREIGN = re.compile(
    r"el|la|los|las|le|les|un|une|una|uno|der|das|dem|den|ein|eine|einen|einer|il|gli|del|della|des|du|y|und|et|zum|zur"
    r"|para|con|por|het|een|naar|os|um|uma|em|ao|dos|og|til|av|och|att|nos|nas"
)
"""Words that English doesn't have; in capitals they may be names."""
_FOREIGN_AFTER_VERB = re.compile(
    r"^\w+ (?:(?:\w+ )?de \w|o (?!(?:to|key|button|and|on|for|in|when|while|at)\b)[a-z]{2})"
)
_LOANWORDS = re.compile(r"cafés?|naïve|façade|piñatas?|résumé|jalapeño|cliché|décor|déjà|fiancée?")
_ABOUT = re.compile(
    r"\b(?:this|these|each|the (?:first|last|next|given|provided|above|shown))"
    r" (?:clip|video|picture|image|frame|screenshot|sheet)s?\b"
    r"|\bthe (?:clip|contact sheet|frames|given frames|player'?s? (?:goal|intention|action)s?)\b"
    r"|^let (?:me|us)\b|\b(?:no explanation|one instruction)\b"
    r"|\b(?:have|let|make|help|watch|see|show|observe) the (?:player|character|user)\b"
)
_PLACEHOLDER = re.compile(
    r"(?:(?:insert|enter|write|add|put|provide|type) )?(?:(?:an?|the|your|my|one|some) )?"
    r"(?:(?:short|single|player'?s?) )*"
    r"(?:goal|instruction|answer|label|text|task|objective|action|verb|verb phrase|placeholder)(?: (?:goes )?here)?"
)
_ENDS_OPEN = re.compile(
    r"(?:\b(?:the|an?|and|or|of|to|with|for|from|into|onto|at|then|my|your|his|its|their|as|than|but|between|towards?|until"
    r"|while|because|that|which)|[,\-(/&+]|\.\.+)$"
)
_MARKUP = re.compile(r"[{}\[\]<>|\\^`*]|\w\(|==|\w=\w|�")
_SEVERAL = re.compile(
    r";|->|=>|→|(?<!\bmr)(?<!\bmrs)(?<!\bms)(?<!\bdr)(?<!\bst)(?<!\bvs)[.!?:]\s|\bthen\b|\s-+\s|\s&\s(?=\w+\s+the\b)"
)
_LOOP = re.compile(r"(?<!\w)(\w[\w'-]*(?:\s+\w[\w'-]*){0,5}?)(?:[\s,.;:!?-]+\1(?!\w)){2,}")
_STUTTER = re.compile(r"([^\W\d_])\1{4,}")


def find_problem(label: str, config: CheckConfig, known: Collection[str] = ()) -> LabelProblem | None:
    """Return why a text can't be a goal as it stands, or None if it can.

    Args:
        label: the bare text, as `read_answer` leaves it.
        config: the limits.
        known: first words of goals that the recording itself tells; goals may begin with them.
    """
    text = mask_quotes(label).casefold()
    rules = (
        (LabelProblem.EMPTY, not text.strip()),
        (LabelProblem.REPETITION, repeats_itself(label)),
        (LabelProblem.OTHER_LANGUAGE, _is_foreign(mask_quotes(label))),
        (LabelProblem.MARKUP, _MARKUP.search(text)),
        (LabelProblem.QUESTION, "?" in text),
        (LabelProblem.ABOUT_ITSELF, _ABOUT.search(text) or _PLACEHOLDER.fullmatch(text)),
        (LabelProblem.NO_INSTRUCTION, not _is_instruction(text, {*config.verbs, *known})),
        (LabelProblem.CUT_SHORT, _is_cut_short(text)),
        (LabelProblem.ALTERNATIVES, re.search(r"\b(?:or|either)\b", text) or _offers_verbs(text)),
        (LabelProblem.SEVERAL, _SEVERAL.search(text) or _lists_verbs(text)),
        (LabelProblem.TOO_SHORT, len(label.split()) < config.min_words),
        (LabelProblem.TOO_LONG, len(label.split()) > config.max_words or len(label) > config.max_chars),
    )
    return next((problem for problem, is_found in rules if is_found), None)


def mask_quotes(text: str) -> str:
    """Return a text with a word in place of each quotation: what is quoted is the game's words, not the goal's."""
    numbers = count()
    return QUOTED.sub(lambda _: f"quoted{next(numbers)}", text)


def repeats_itself(text: str) -> bool:
    """Return whether words come three times in a row, or a letter five times."""
    plain = mask_quotes(text).casefold()
    return bool(_LOOP.search(plain) or _STUTTER.search(plain))


def begins_with_verb(text: str, config: CheckConfig, known: Collection[str] = ()) -> bool:
    """Return whether a text begins as an instruction does: with a verb, `don't`, or an adverb before them."""
    return _place_of_verb(text.casefold().split(), {*config.verbs, *known}) is not None


@cache
def _common_verbs() -> frozenset[str]:
    return frozenset(resources.files("labeling").joinpath("verbs.txt").read_text(encoding="ascii").split())


def _is_verb(word: str, more: Collection[str] = ()) -> bool:
    if not _WORD.fullmatch(word):
        return False
    if word in _common_verbs() or word in {verb.casefold() for verb in more}:
        return True
    first, *rest = re.split(r"[-+]", word)
    if rest:
        # left-click, re-equip, ctrl+click; log-in, check-out
        return _is_verb(rest[-1], more) or (first in _common_verbs() and rest in (["in"], ["out"], ["on"], ["off"]))
    return len(word) > 4 and word.startswith("re") and word[2:] in _common_verbs()


def _place_of_verb(words: list[str], more: Collection[str]) -> int | None:
    """Return where the verb of an instruction stands: first, or after `don't`, `never` and adverbs; None elsewhere."""
    place = 2 if words[:2] == ["do", "not"] else 0
    for number in range(place, min(place + 3, len(words))):
        word = words[number].rstrip(",")
        if _TWO_WORDS.match(" ".join(words[number : number + 2])):
            return number + 1
        if _is_verb(word, more):
            return number
        if word not in _OPENERS and not _ADVERB.fullmatch(word):
            return None
    return None


def _is_instruction(text: str, more: Collection[str]) -> bool:
    words = text.split()
    place = _place_of_verb(words, more)
    return place is not None and not _goes_on_as_statement(words[place], words[place + 1 :])


def _goes_on_as_statement(verb: str, rest: list[str]) -> bool:
    """Return whether what begins like an instruction is a statement: `bank is open`, `bank opened`."""
    if (
        len(rest) == 1
        and re.fullmatch(r"\w{3,}ed", rest[0])
        and verb not in ("get", "stay", "keep", "remain", "become")
    ):
        return rest[0] not in _common_verbs()
    for word in rest:
        if _CLAUSE.fullmatch(word):
            return False
        if _FINITE.fullmatch(word):
            return True
    return False


def _is_foreign(text: str) -> bool:
    if any(char.isalpha() and not unicodedata.name(char, "").startswith("LATIN") for char in text):
        return True
    words = text.split()
    strange = (word.strip(".,!?") for word in words if re.search(r"[^\W\d_a-zA-Z]", word) and word == word.casefold())
    return (
        any(not _LOANWORDS.fullmatch(word) for word in strange)
        or any(_FOREIGN.fullmatch(word) for word in words[1:])
        or _FOREIGN_AFTER_VERB.match(text) is not None
    )


def _is_cut_short(text: str) -> bool:
    is_open = '"' in text or re.search(r"(?<!\w)'", text) is not None or text.count("(") != text.count(")")
    return is_open or _ENDS_OPEN.search(text) is not None


def _offers_verbs(text: str) -> bool:
    pairs = re.findall(r"(?<![\w/])([\w-]+)\s*/\s*([\w-]+)(?![\w/])", text)
    return any(_is_verb(one) and _is_verb(other) for one, other in pairs)


def _lists_verbs(text: str) -> bool:
    return any(_is_verb(word) for word in re.findall(r",\s+(?:and\s+)?([\w-]+)\s+(?!and\b|or\b)\w", text))
