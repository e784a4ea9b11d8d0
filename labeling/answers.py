"""From what a model answered to the goal it gives, or the reason there is none.

Models wrap a goal in preambles, markup, numbering, data and thoughts. All of that is taken off by its structure; what
is left counts only where it has the form of a goal (`checks`). Three ends are possible: a goal; a problem of which the
model is told and asked again; and one that is final, such as that no goal can be seen.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from labeling import phrases
from labeling.checks import (
    EXPLANATIONS,
    QUOTED,
    CheckConfig,
    LabelProblem,
    begins_with_verb,
    find_problem,
    repeats_itself,
)
from labeling.containers import leave_thoughts, open_containers
from labeling.plain_text import to_plain

_MAX_CHARS = 2000
"""Of an answer; what comes later is not read."""
_PAIRS = {'"': '"', "'": "'", "(": ")", "[": "]", "{": "}", "<": ">", "*": "*", "_": "_", "`": "`", "|": "|"}
_MOST_ASIDES = 2
"""Sentences that may stand before a goal that isn't called one; more are a thought told aloud."""


@dataclass(frozen=True)
class AnswerReading:
    """What an answer comes to: a goal, or a problem."""

    goal: str | None
    """The goal, one line."""
    problem: LabelProblem | None = None
    """Why there is none."""

    @property
    def is_worth_asking_again(self) -> bool:
        """Whether a second question may bring a goal."""
        return self.problem in EXPLANATIONS


def read_answer(answer: str, config: CheckConfig, *, question: str = "", known: Collection[str] = ()) -> AnswerReading:
    """Return the goal that a model's answer gives.

    Args:
        answer: what the model said, whole.
        config: what a goal may look like.
        question: what it was asked; a sentence of it that comes back is no answer.
        known: first words of goals that the recording itself tells.
    """
    plain = to_plain(answer[:_MAX_CHARS])
    text = leave_thoughts(plain)
    if plain.strip() and not text.strip():
        return AnswerReading(None, LabelProblem.THOUGHT_ONLY)
    lines = [line for line in open_containers(text) if line.strip()]
    if repeats_itself("\n".join(lines)):
        return AnswerReading(None, LabelProblem.REPETITION)
    reader = _Reader(config, _to_words(question), known)
    for line in lines:
        reader.add_line(line)
    return reader.conclude()


@dataclass
class _Reader:
    """Takes in the sentences of an answer, and says what they come to."""

    config: CheckConfig
    question: str
    known: Collection[str]
    goals: list[str] = field(default_factory=list)
    called_goals: list[str] = field(default_factory=list)
    """Goals under a label or a heading that says so."""
    problems: list[LabelProblem] = field(default_factory=list)
    is_refused: bool = False
    is_called_next: bool = False
    is_aside: bool = False
    """Below a heading such as `Explanation`."""

    def add_line(self, line: str) -> None:
        """Take in the sentences of a line."""
        text, is_called = self._take_off(line)
        aside = None if is_called else phrases.ASIDE.match(text)
        if aside:
            self.is_aside = aside.end() == len(text)
            return
        for sentence in _split(text):
            bare, is_said = self._take_off(sentence)
            self._add(bare, is_called=is_called or is_said)
            is_called = False

    def _add(self, text: str, *, is_called: bool) -> None:
        if not re.search(r"\w", text) or phrases.HEADING.fullmatch(text):
            is_heading = is_called or bool(re.search(r"\w", text))
            self.is_called_next, self.is_aside = self.is_called_next or is_heading, self.is_aside and not is_heading
        elif is_called or not self.is_aside:
            self._judge(text, is_called=is_called or self.is_called_next)
            self.is_called_next = self.is_aside = False

    def conclude(self) -> AnswerReading:
        """Return what all sentences together come to."""
        goals = {goal.casefold(): goal for goal in self.called_goals or self.goals}
        if self.is_refused:
            return AnswerReading(None, LabelProblem.REFUSED)
        if len(goals) > 1:
            return AnswerReading(None, LabelProblem.SEVERAL)
        if goals and (self.called_goals or len(self.problems) <= _MOST_ASIDES):
            return AnswerReading(goals.popitem()[1])
        telling = [problem for problem in self.problems if problem is not LabelProblem.NO_INSTRUCTION]
        return AnswerReading(None, next(iter(telling or self.problems), LabelProblem.EMPTY))

    def _judge(self, text: str, *, is_called: bool) -> None:
        goal = _settle_case(text)
        words = _to_words(text)
        has_goal = bool(self.goals or self.called_goals)
        problem = find_problem(goal, self.config, self.known)
        if problem is not None and " " in words and f" {words} " in f" {self.question} ":
            self.problems.append(LabelProblem.ABOUT_ITSELF)
        elif phrases.REFUSAL.match(text) or (problem is not None and phrases.DENIED.search(QUOTED.sub("", text))):
            self.is_refused = self.is_refused or not has_goal
        elif problem is None:
            (self.called_goals if is_called else self.goals).append(goal)
        elif not has_goal:
            # What follows a goal explains it.
            self.problems.append(problem)

    def _take_off(self, text: str) -> tuple[str, bool]:
        """Return a sentence without all that is around it, and whether that called it a goal."""
        is_called = False
        before = None
        while text != before:
            before = text
            text = phrases.KEY_NAME.sub(r"\1 \2", _open_pair(" ".join(text.split())))
            text = phrases.END.sub("", phrases.MARK.sub("", text, count=1) if phrases.MARK.match(text) else text)
            if QUOTED.sub("", text) and phrases.STRAY_QUOTE.search(QUOTED.sub(" ", text)):
                text = phrases.STRAY_QUOTE.sub("", text)
            if (opening := phrases.OPENING.match(text)) and opening.end():
                text = text[opening.end() :]
            if (to := phrases.TO.match(text)) and begins_with_verb(text[to.end() :], self.config, self.known):
                text = text[to.end() :]
            is_begun = begins_with_verb(text, self.config, self.known)
            label = phrases.LABEL.match(text) or (None if is_begun else phrases.LABEL_WITHIN.match(text))
            if label and not phrases.DOUBT.search(label[0]):
                text, is_called = text[label.end() :], True
        return text, is_called


def _split(line: str) -> Iterator[str]:
    """Yield the sentences of a line and the cells of a row; what is in quotes stays whole."""
    line = _open_pair(line.strip())
    masked = phrases.WHOLE.sub(lambda found: "q" * len(found[0]), line)
    begin = 0
    for end in phrases.SENTENCE_END.finditer(masked):
        yield line[begin : end.start()] + end[0].strip(" -|")
        begin = end.end()
    yield line[begin:]


def _open_pair(text: str) -> str:
    while len(text) > 1 and _PAIRS.get(text[0]) == text[-1] and not _has_quote_inside(text):
        text = text[1:-1].strip()
    return text


def _has_quote_inside(text: str) -> bool:
    # 'open' and 'close' is not one quotation, but 'don't die' is.
    inner = text[1:-1]
    if text[0] == "'":
        return re.search(r"(?<!\w)'|'(?!\w)", inner) is not None
    return text[0] == '"' and '"' in inner


def _settle_case(text: str) -> str:
    """Return a goal with a small first letter; one in capitals, or with capitals as in a title, in small letters."""
    if text.isupper() or phrases.TITLE_CASE.search(text):
        return text.lower()
    return text[:1].lower() + text[1:]


def _to_words(text: str) -> str:
    return " ".join(re.findall(r"[\w']+", text.casefold()))
