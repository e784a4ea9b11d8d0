"""Labelers on real models. Imported only when one is asked for: everything here needs torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from labeling.labelers import MAX_IMAGE_TOKENS, ChoiceLabeler, LabelConfig, Labeler, ModelLabeler
from vlm_agent.decoding.choices import Phrases
from vlm_agent.decoding.engine import Engine
from vlm_agent.decoding.prompts import generate_text
from vlm_agent.decoding.sequence import ModelPrompt
from vlm_agent.errors import ModelError
from vlm_agent.games.ringcraft.goals import GOALS
from vlm_agent.models.checkpoints import BUNDLED_NAMES
from vlm_agent.models.images import pixel_values, resize_frame
from vlm_agent.models.loading import LoadedModel, load_model

if TYPE_CHECKING:
    from vlm_agent.chat import RgbFrame

_MAX_NEW_TOKENS = 64
"""Room for a preamble; what is cut off before the goal is asked again."""


def load_labeler(name_or_path: str, config: LabelConfig) -> Labeler:
    """Load a model and return the labeler that asks it.

    Raises:
        ModelError: there is no such checkpoint, or it can't be used.
    """
    is_bundled = name_or_path in BUNDLED_NAMES
    loaded = load_model(name_or_path, quantization="none" if is_bundled else "nf4")
    name = f"{name_or_path}@{loaded.fingerprint[:12]}"
    if is_bundled:
        return ChoiceLabeler(
            GoalChooser(loaded, [goal.text for goal in GOALS.values() if not goal.is_long]), name, config
        )

    def generate(messages: list[dict[str, Any]], images: Sequence[RgbFrame]) -> str:
        return generate_text(loaded, messages, images, _MAX_NEW_TOKENS, max_image_tokens=MAX_IMAGE_TOKENS)

    return ModelLabeler(generate, name, config)


class GoalChooser:
    """Lets a model choose among goals: the answer is decoded along the token ids of the list."""

    def __init__(self, loaded: LoadedModel, goals: Sequence[str]) -> None:
        self._loaded = loaded
        self._engine = Engine(loaded)
        self._goals = Phrases(loaded.encoder, goals)

    def __call__(self, messages: list[dict[str, Any]], images: Sequence[RgbFrame]) -> tuple[str, float]:
        """Return the chosen goal, and the probability that the model itself gives to saying one of the list."""
        # A tile of the sheet is as wide as nano sees a whole frame in play, so it must not be shrunk.
        settings = self._loaded.encoder.images.with_tokens(MAX_IMAGE_TOKENS)
        frames = []
        for image in images:
            width_px, height_px = settings.fit_size(image.shape[1], image.shape[0])
            frames.append(resize_frame(image, width_px, height_px))
        encoded = self._loaded.encoder.encode_prompt(messages, [(frame.shape[1], frame.shape[0]) for frame in frames])
        prompt = ModelPrompt(encoded, pixel_values(frames, settings))
        generation = self._engine.decode(prompt, self._goals.start())
        if generation.stop is not None:
            raise ModelError(f"{self._loaded.source}: can't name a goal: {generation.stop}")
        return self._goals.read(generation.token_ids), round(generation.mean_p_allowed or 0.0, 4)
