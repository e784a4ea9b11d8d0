"""Who is asked: the model, its base, the base with worked examples, further models, and those who know no model."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from vlm_agent.errors import ConfigError

if TYPE_CHECKING:
    from vlm_agent.chat import Recipe
    from vlm_agent.dataset.store import Dataset
    from vlm_agent.decoding.engine import DecodeConfig
    from vlm_agent.evaluation.sides import Side
    from vlm_agent.policies import Policy, VlmPolicy

TRAIN = "train"
TUNED, BASE, BASE_FEW = "tuned", "base", "base_few"
NOTHING, REPEAT, MARGINAL, NEAREST = "nothing", "repeat", "marginal", "nearest"
MODELS, TRIVIAL = (TUNED, BASE, BASE_FEW), (NOTHING, REPEAT, MARGINAL, NEAREST)
"""Everyone who may be asked, in the order of the table; further models come between the two."""

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")


class Asking(Protocol):
    """The settings of whatever asks a model."""

    @property
    def temperature(self) -> float:
        """How tokens are chosen."""

    @property
    def device(self) -> str:
        """Where the model runs."""


@dataclass(frozen=True)
class Contender:
    """Someone who is asked."""

    name: str
    """What it is called in files and tables."""
    who: Mapping[str, Any]
    """Who that is: names and hashes."""
    make: Callable[[], Policy]
    """Makes it ready to be asked; loads a model."""
    is_model: bool = False
    """Whether it is a model, whose expectations can be read."""
    recipe: Recipe | None = None
    """How it is spoken to, where that is known before it is loaded."""


def read_also(also: Sequence[str]) -> dict[str, str]:
    """Return further models by name, from texts of the form `NAME=RUN`, in order of name.

    Raises:
        ConfigError: a text is not of that form, or a name is taken.
    """
    found: dict[str, str] = {}
    for text in also:
        name, _, run = text.partition("=")
        if not _NAME.fullmatch(name) or not run:
            raise ConfigError(f"--also takes NAME=RUN, a name of a-z, 0-9, _ and - and a model's folder, got {text!r}")
        if name in (*MODELS, *TRIVIAL) or name in found:
            raise ConfigError(f"--also {text}: {name!r} is taken; choose another name")
        found[name] = run
    return dict(sorted(found.items()))


def sort_names(names: Sequence[str]) -> list[str]:
    """Return names of contenders in the order of the table."""
    others = sorted(name for name in names if name not in (*MODELS, *TRIVIAL))
    return [name for name in (*MODELS, *others, *TRIVIAL) if name in names]


def list_contenders(
    side: Side, also: Mapping[str, Side], dataset: Dataset, config: Asking, *, few_shot: int
) -> Iterator[Contender]:
    """Give everyone who is asked; the model that is asked about first.

    Args:
        side: that model; beside a tuned one stands its base.
        also: further models by name.
        dataset: what they are asked about.
        config: how models choose tokens, and where they run.
        few_shot: how many worked examples the base is shown as well; 0 leaves that contender out, and so does a recipe
            of conversations.

    Raises:
        DataError: a model was made for other actions.
        ConfigError: a model's recipe can't be read.
    """
    from vlm_agent.evaluation.offline.baselines import MarginalPolicy, NearestPolicy
    from vlm_agent.policies import NoOpPolicy, RepeatLastPolicy

    shelf = _Shelf(dataset, config)
    has_training = TRAIN in dataset.splits
    if side.record is not None:
        yield _make_contender(TUNED, side, shelf)
    base, recipe, who = side.name, None, side.to_json()
    if side.record is not None:
        recipe = _read_recipe(side, dataset)
        base = side.record["base"]["source"]
        who = {"name": base, "weights_sha256": side.base_fingerprint, "recipe_of": side.name}

    def show_examples() -> Policy:
        from vlm_agent.evaluation.offline.few_shot import FewShotPolicy

        plain = shelf.take(base, side.record)
        windows = list(dataset.windows(TRAIN))
        return FewShotPolicy(plain.loaded, plain.recipe, windows, few_shot, make_decoding(config))

    yield Contender(BASE, who, lambda: shelf.take(base, side.record), is_model=True, recipe=recipe)
    # Worked examples are turns of their own: in a conversation they would be taken for its beginning.
    if few_shot and has_training and not (recipe is not None and recipe.is_conversation):
        yield Contender(BASE_FEW, {**who, "examples": few_shot}, show_examples, is_model=True, recipe=recipe)
    for name, other in also.items():
        yield _make_contender(name, other, shelf)
    yield Contender(NOTHING, {}, NoOpPolicy)
    yield Contender(REPEAT, {}, RepeatLastPolicy)
    if has_training:
        yield Contender(MARGINAL, {}, lambda: MarginalPolicy(dataset.windows(TRAIN)))
        yield Contender(NEAREST, {}, lambda: NearestPolicy(list(dataset.windows(TRAIN))))


def _make_contender(name: str, side: Side, shelf: _Shelf) -> Contender:
    recipe = None if side.record is None else _read_recipe(side, shelf.dataset)
    return Contender(
        name, side.to_json(), lambda: shelf.take(side.name, side.record, side.recipe_from), is_model=True, recipe=recipe
    )


def _read_recipe(side: Side, dataset: Dataset) -> Recipe:
    from vlm_agent.chat import Recipe
    from vlm_agent.dataset.store import check_same_spec

    assert side.record is not None
    recipe = Recipe.from_json(side.record["recipe"])
    check_same_spec(dataset.spec, recipe.spec, dataset.folder)
    return recipe


class _Shelf:
    """Holds the model that was loaded last: who needs the same one comes next."""

    def __init__(self, dataset: Dataset, config: Asking) -> None:
        self.dataset = dataset
        self._config = config
        self._held: tuple[str, Mapping[str, Any] | None, VlmPolicy] | None = None

    def take(self, name: str, record: Mapping[str, Any] | None, recipe: Path | None = None) -> VlmPolicy:
        """Return the model of that name, which stays until another one is asked for."""
        if self._held is None or self._held[:2] != (name, record):
            # Let go of the one before: two large models don't fit beside each other.
            self._held = None
            self._held = name, record, make_model(name, self.dataset, record, self._config, recipe)
        return self._held[2]


def make_model(
    name: str, dataset: Dataset, record: Mapping[str, Any] | None, config: Asking, recipe: Path | None = None
) -> VlmPolicy:
    """Return a model that answers for a dataset.

    Args:
        name: what `load_model` takes.
        dataset: gives what may be done.
        record: the record of the adapter whose recipe it is spoken to in; none for a base's own.
        config: gives temperature and device.
        recipe: for an adapter that carries no recipe: the run or file that says how it is asked.
    """
    from vlm_agent.chat import Recipe
    from vlm_agent.policies import VlmPolicy

    # A base is spoken to as the run that was tuned from it: the same prompt, pictures and precision.
    return VlmPolicy.from_run(
        name,
        dataset.spec,
        recipe=recipe or (None if record is None else Recipe.from_json(record["recipe"])),
        quantization="nf4" if record is None else record["base"]["quantization"],
        device=config.device,
        config=make_decoding(config),
    )


def make_decoding(config: Asking) -> DecodeConfig:
    """Return how models write their answers."""
    from vlm_agent.decoding.engine import DecodeConfig
    from vlm_agent.decoding.sampling import SamplingConfig

    return DecodeConfig(SamplingConfig(temperature=config.temperature))
