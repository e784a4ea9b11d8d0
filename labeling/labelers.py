"""Who says what a clip's goal is: a person who told it, the game, the bundled small model, or any Qwen-VL checkpoint.

A labeler sees one clip and answers with a label, which may say why there is no goal. It never touches files. What a
person told stands before all of them (`stage`): the others fill the clips that are left. Models come in through two
small callables, so nothing here knows a model's inside, and tests need none. What they say goes through `answers`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from labeling.answers import AnswerReading, read_answer
from labeling.checks import EXPLANATIONS, CheckConfig, LabelProblem
from labeling.contact_sheet import SheetConfig
from labeling.store import Label
from vlm_agent.chat import PromptTemplate, load_prompt
from vlm_agent.clips import Clip, goal_at
from vlm_agent.sessions.types import Goal, GoalSource

if TYPE_CHECKING:
    from vlm_agent.chat import Message, RgbFrame

Generate = Callable[[list[dict[str, Any]], Sequence["RgbFrame"]], str]
"""Messages and their pictures to a model's plain answer."""
Choose = Callable[[list[dict[str, Any]], Sequence["RgbFrame"]], tuple[str, float]]
"""Messages and their pictures to one of a closed list of goals, and how sure the model is."""

MODEL_CONFIDENCE = 0.5
"""A free answer carries no measure of its own."""
MAX_IMAGE_TOKENS = 1024
"""A contact sheet takes no more of them."""
_EXAMPLES = "open the bank; walk to the furnace; check the posters"


@dataclass(frozen=True)
class ClipView:
    """What a labeler sees."""

    clip: Clip
    """The span."""
    goals: Sequence[Goal]
    """Goals that the session itself tells."""
    sheet: RgbFrame | None
    """Contact sheet, (height, width, 3) uint8; None for labelers that need no picture."""
    num_frames: int = 0
    """Moments on the sheet."""


@dataclass(frozen=True)
class LabelConfig:
    """How clips are labeled."""

    sheet: SheetConfig = field(default_factory=SheetConfig)
    """The picture that a model sees."""
    check: CheckConfig = field(default_factory=CheckConfig)
    """What a model's answer must look like."""
    batch_clips: int = 8
    """Labels are written after so many clips."""


class Labeler(Protocol):
    """Gives clips their goals."""

    @property
    def name(self) -> str:
        """Identifies labeler, model and prompt; labels of another name are made anew."""
        ...

    @property
    def needs_pictures(self) -> bool:
        """Whether it wants contact sheets."""
        ...

    def label(self, view: ClipView) -> Label:
        """Return the label of a clip."""
        ...


class ToldLabeler:
    """Takes the short goal that a person told while recording."""

    name = "told"
    needs_pictures = False

    def label(self, view: ClipView) -> Label:
        """Return the person's goal when the clip begins."""
        goal = goal_at(view.goals, view.clip.goal_ns, "short")
        if goal is None or goal.source != "human":
            return _drop_untold(view, self.name, "human")
        return Label(view.clip.start_ns, view.clip.stop_ns, goal.text, goal.source, goal.confidence, self.name)


class GameLabeler:
    """Takes the short goal that the recording holds: told by the game as it was played, or by an import's labels."""

    name = "game"
    needs_pictures = False

    def label(self, view: ClipView) -> Label:
        """Return the recording's goal when the clip begins."""
        goal = goal_at(view.goals, view.clip.goal_ns, "short")
        if goal is None:
            return _drop_untold(view, self.name, "game")
        return Label(view.clip.start_ns, view.clip.stop_ns, goal.text, goal.source, goal.confidence, self.name)


class ModelLabeler:
    """Asks a vision-language model in words; asks once more where that may bring a goal."""

    needs_pictures = True

    def __init__(self, generate: Generate, model_name: str, config: LabelConfig) -> None:
        self._generate = generate
        self._check = config.check
        self._ask, self._ask_again = load_prompt("label_clip"), load_prompt("label_retry")
        self.name = _name(model_name, self._check, self._ask, self._ask_again)

    def label(self, view: ClipView) -> Label:
        """Return the model's goal for a clip."""
        assert view.sheet is not None
        messages = make_question(self._ask, view.num_frames, self._check)
        answer = self._generate(messages, [view.sheet])
        reading = _read(answer, view, self._check, messages)
        if reading.problem in EXPLANATIONS:
            again = [*messages, _message("assistant", answer), _message("user", self._explain(reading.problem))]
            reading = _read(self._generate(again, [view.sheet]), view, self._check, again)
        return _make_label(reading, view.clip, MODEL_CONFIDENCE, self.name)

    def _explain(self, problem: LabelProblem) -> str:
        return self._ask_again.render(
            problem=EXPLANATIONS[problem], min_words=self._check.min_words, max_words=self._check.max_words
        )


class ChoiceLabeler:
    """Asks a small model, which can't put things in words of its own, to choose among goals it knows."""

    needs_pictures = True

    def __init__(self, choose: Choose, model_name: str, config: LabelConfig) -> None:
        self._choose = choose
        self._check = config.check
        self._ask = load_prompt("label_clip")
        self.name = _name(model_name, self._check, self._ask)

    def label(self, view: ClipView) -> Label:
        """Return the likeliest of the known goals for a clip."""
        assert view.sheet is not None
        messages = make_question(self._ask, view.num_frames, self._check)
        goal, confidence = self._choose(messages, [view.sheet])
        return _make_label(read_answer(goal, self._check), view.clip, confidence, self.name)


def make_question(template: PromptTemplate, num_frames: int, check: CheckConfig) -> list[Message]:
    """Return the messages that ask for a clip's goal: the contact sheet, then the question."""
    text = template.render(
        num_frames=num_frames, min_words=check.min_words, max_words=check.max_words, examples=_EXAMPLES
    )
    return [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]}]


def _message(role: str, text: str) -> Message:
    return {"role": role, "content": [{"type": "text", "text": text}]}


def _read(answer: str, view: ClipView, check: CheckConfig, messages: list[Message]) -> AnswerReading:
    """Return what an answer comes to, in a recording whose own goals show which words its goals begin with."""
    known = {goal.text.split()[0] for goal in view.goals if goal.source != "model" and goal.text.strip()}
    asked = [block["text"] for message in messages if message["role"] == "user" for block in message["content"][-1:]]
    return read_answer(answer, check, question=" ".join(asked), known=known)


def _name(model_name: str, check: CheckConfig, *prompts: PromptTemplate) -> str:
    return "+".join([model_name, *(prompt.sha256[:12] for prompt in prompts), check.fingerprint])


def _make_label(reading: AnswerReading, clip: Clip, confidence: float, labeler: str) -> Label:
    if reading.goal is None:
        return _drop(clip, reading.problem or LabelProblem.EMPTY, labeler, "model")
    return Label(clip.start_ns, clip.stop_ns, reading.goal, "model", confidence, labeler)


def _drop_untold(view: ClipView, labeler: str, source: GoalSource) -> Label:
    # Under a long goal the clip's windows serve that one; that is no failure.
    long = goal_at(view.goals, view.clip.goal_ns, "long")
    return _drop(view.clip, "no_goal_told" if long is None else "long_goal_only", labeler, source)


def _drop(clip: Clip, reason: str, labeler: str, source: GoalSource) -> Label:
    return Label(clip.start_ns, clip.stop_ns, None, source, 0.0, labeler, dropped=reason)
