"""Whatever peft can attach: the chosen stack computes what the whole wrapped model computes, or it is refused."""

from __future__ import annotations

import copy
import dataclasses
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

from tests.decoding.tiny_prompts import make_prompt, recompute_logits
from vlm_agent.decoding.engine import Engine
from vlm_agent.decoding.lean import LeanStack, is_lean_enough
from vlm_agent.decoding.sequence import CachedSequence, make_stack
from vlm_agent.decoding.stacks import TransformersStack
from vlm_agent.errors import ModelError
from vlm_agent.models.adapter_configs import check_kind
from vlm_agent.models.adapters import adapts_vision, attach_lora, load_adapter
from vlm_agent.models.forward import apply_head
from vlm_agent.models.loading import LoadedModel, load_model

pytestmark = [pytest.mark.model, pytest.mark.filterwarnings("ignore")]

TOLERANCE = 1e-5
"""Largest difference of a logit; an adapter that is left out shows at 0.01 and more."""

LAYERS = ["q_proj", "v_proj", "down_proj"]

REFUSED = {
    "ADAPTION_PROMPT",
    "CARTRIDGE",
    "CPT",
    "MULTITASK_PROMPT_TUNING",
    "POLY",
    "PREFIX_TUNING",
    "PROMPT_TUNING",
    "P_TUNING",
    "SHADOW",
    "XLORA",
}
"""Kinds that work around the layers."""

SETTINGS: dict[str, dict[str, Any]] = {
    "ADALORA": {"total_step": 100},
    "ADAMSS": {"target_modules": ["layers.0.self_attn.k_proj"], "r": 8, "num_subspaces": 2},
    "BOFT": {"boft_block_size": 4},
    "C3A": {"block_size": 16},
    "FOURIERFT": {"n_frequency": 50},
    "FROD": {"progressbar": False},
    "IA3": {"feedforward_modules": ["down_proj"]},
    "LN_TUNING": {"target_modules": ["input_layernorm", "q_norm", "language_model.norm"]},
    "OFT": {"oft_block_size": 8, "r": 0},
    "ROAD": {"group_size": 16},
    "SHIRA": {"r": 2},
    "TRAINABLE_TOKENS": {"target_modules": ["embed_tokens"], "token_indices": [50, 51, 52]},
    "VBLORA": {"num_vectors": 8, "vector_length": 16},
    "WAVEFT": {"n_frequency": 50},
}
"""What a kind needs besides its layers, or to be quick."""


@pytest.fixture(scope="module")
def bases(tiny_folder) -> dict[str, LoadedModel]:
    return {kind: load_model(tiny_folder("qwen3_vl"), quantization=kind, device="cpu") for kind in ("none", "nf4")}


def wrap(loaded: LoadedModel, *configs: peft.PeftConfig) -> LoadedModel:
    """A copy of a model with adapters in it that change what it says."""
    model = copy.deepcopy(loaded.model)
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wrapped = get_peft_model(model, configs[0])
        for number, config in enumerate(configs[1:]):
            wrapped.add_adapter(f"other{number}", config)
    names = list(wrapped.peft_config)
    for name in names:
        wrapped.set_adapter(name)
        generator = torch.Generator().manual_seed(0)
        for parameter in (p for p in wrapped.parameters() if p.requires_grad and p.is_floating_point()):
            parameter.data.add_(torch.randn(parameter.shape, generator=generator).mul_(0.1).to(parameter.dtype))
    wrapped.set_adapter(names[0])
    wrapped.eval()
    return replace(loaded, model=model, peft=wrapped)


def logits_of_whole(loaded: LoadedModel, then: tuple[int, ...] = (40, 50)) -> torch.Tensor:
    """What the wrapped model itself says, with no part of this project in between."""
    whole = loaded if loaded.peft is None else replace(loaded, model=loaded.peft)
    return recompute_logits(_Whole(loaded, whole.model), make_prompt(loaded, 3), then)


class _Whole:
    """A loaded model whose `model` is the peft wrapper."""

    def __init__(self, loaded: LoadedModel, model: Any) -> None:
        self.model, self.encoder, self.device, self.dtype = model, loaded.encoder, loaded.device, loaded.dtype


def logits_of_stack(loaded: LoadedModel, then: tuple[int, ...] = (40, 50)) -> torch.Tensor:
    hidden = CachedSequence(loaded).start(make_prompt(loaded, 3), then)
    with torch.inference_mode():
        logits = apply_head(loaded.model, hidden)
    everything = tuple(range(len(logits)))
    read, _ = Engine(loaded)._head.allowed_logits(hidden, everything, measure=False)
    assert read.equal(logits)
    return logits


def check(base: LoadedModel, loaded: LoadedModel, *, changes: bool = True) -> None:
    want = logits_of_whole(loaded)
    assert (float((want - logits_of_whole(base)).abs().max()) > 0.01) == changes
    torch.testing.assert_close(logits_of_stack(loaded), want, rtol=0, atol=TOLERANCE)


def check_saved(base: LoadedModel, loaded: LoadedModel, folder: Path) -> None:
    """What peft saves of an adapter is loaded as the same adapter."""
    loaded.peft.save_pretrained(folder)
    model = copy.deepcopy(base.model)
    again = replace(base, model=model, peft=load_adapter(model, folder))
    assert not any(parameter.requires_grad for parameter in model.parameters())
    torch.testing.assert_close(logits_of_stack(again), logits_of_whole(loaded), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("kind", [kind.value for kind in PEFT_TYPE_TO_CONFIG_MAPPING])
def test_every_kind_of_peft_is_computed_or_refused(bases, tmp_path, kind):
    config_class = PEFT_TYPE_TO_CONFIG_MAPPING[peft.PeftType(kind)]
    base = bases["none"]
    if kind in REFUSED:
        with pytest.raises(ModelError, match=f"given: an adapter of kind {kind} works around the layers"):
            check_kind(config_class(task_type="CAUSAL_LM" if kind == "CPT" else None), "given")
        return
    given_settings = {"task_type": "CAUSAL_LM", "target_modules": LAYERS, **SETTINGS.get(kind, {})}
    known = {field.name for field in dataclasses.fields(config_class)}
    loaded = wrap(base, config_class(**{name: value for name, value in given_settings.items() if name in known}))
    check_kind(loaded.peft.peft_config["default"], "given")
    check(base, loaded)
    assert isinstance(make_stack(loaded), LeanStack) == (kind == "LORA")
    check_saved(base, loaded, tmp_path)


LORAS = {
    "plain": {},
    "all linear": {"target_modules": "all-linear"},
    "rslora": {"use_rslora": True},
    "patterns": {"rank_pattern": {"layers.1.self_attn.q_proj": 3}, "alpha_pattern": {"v_proj": 32}},
    "some layers": {"layers_to_transform": [0, 2]},
    "bias all": {"bias": "all"},
    "bias lora_only": {"bias": "lora_only"},
    "pissa": {"init_lora_weights": "pissa"},
    "olora": {"init_lora_weights": "olora"},
    "orthogonal": {"init_lora_weights": "orthogonal"},
    "gaussian": {"init_lora_weights": "gaussian"},
    "eva": {"init_lora_weights": "eva"},
    "head": {"target_modules": [*LAYERS, "lm_head"]},
    "saved head": {"modules_to_save": ["lm_head"]},
    "saved tower": {"modules_to_save": ["merger"]},
    "tower": {"target_modules": ["qkv", "linear_fc1", "v_proj"]},
    "tower alone": {"target_modules": ["qkv", "attn.proj", "linear_fc2"]},
}
"""What the lean stack knows: language layers under plain LoRA, and anything above and below them."""

OTHERS = {
    "dora": {"use_dora": True},
    "lora bias": {"lora_bias": True},
    "token table": {"target_modules": [*LAYERS, "embed_tokens"]},
    "saved token table": {"modules_to_save": ["embed_tokens"]},
    "saved norm": {"modules_to_save": ["input_layernorm"]},
    "saved projection": {"modules_to_save": ["o_proj"]},
    "some tokens": {"trainable_token_indices": [50, 51, 52]},
    "parameters": {"target_modules": [], "target_parameters": ["0.mlp.down_proj.weight"]},
}
"""What it doesn't."""


CHANGING = ("pissa", "olora")
"""Ways to begin that change the base; as long as they aren't converted, what is saved is of another base."""


@pytest.mark.parametrize("name", [*LORAS, *OTHERS])
def test_every_form_of_lora_is_computed(bases, tmp_path, name):
    options = {"task_type": "CAUSAL_LM", "target_modules": LAYERS, "r": 4, **{**LORAS, **OTHERS}[name]}
    loaded = wrap(bases["none"], LoraConfig(**options))
    check(bases["none"], loaded)
    assert isinstance(make_stack(loaded), LeanStack) == (name in LORAS)
    assert adapts_vision(loaded.peft) == (name in ("all linear", "saved tower", "tower", "tower alone"))
    if name in CHANGING:
        loaded.peft.save_pretrained(tmp_path)
        with pytest.raises(ModelError, match="would change the base"):
            load_adapter(copy.deepcopy(bases["none"].model), tmp_path)
        return
    check_saved(bases["none"], loaded, tmp_path)


@settings(max_examples=12, derandomize=True, phases=[Phase.generate])
@given(
    modules=st.lists(
        st.sampled_from(
            ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "qkv", "lm_head"]
        ),
        min_size=1,
        unique=True,
    ),
    options=st.fixed_dictionaries(
        {"r": st.integers(1, 8), "lora_alpha": st.integers(1, 64), "use_rslora": st.booleans()},
    ),
    variant=st.sampled_from([{}, {}, {"use_dora": True}, {"lora_bias": True}]),
    is_packed=st.booleans(),
)
def test_options_in_any_mixture_are_computed(bases, modules, options, variant, is_packed):
    base = bases["nf4" if is_packed else "none"]
    loaded = wrap(base, LoraConfig(task_type="CAUSAL_LM", target_modules=modules, **options, **variant))
    want = logits_of_whole(loaded)
    # A loud adapter makes large values, and large values round coarsely.
    atol = TOLERANCE * max(1.0, float(want.abs().max()))
    torch.testing.assert_close(logits_of_stack(loaded), want, rtol=0, atol=atol)


FIRST = LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj", "v_proj"], r=4)
SECOND = LoraConfig(task_type="CAUSAL_LM", target_modules=["v_proj", "up_proj"], r=2, lora_alpha=16)


@pytest.mark.parametrize("kind", ["none", "nf4"])
def test_several_adapters_at_once(bases, kind):
    loaded = wrap(bases[kind], FIRST, SECOND)
    seen = []
    for active in (["default"], ["other0"], ["default", "other0"]):
        loaded.peft.base_model.set_adapter(active)
        check(bases[kind], loaded)
        assert isinstance(make_stack(loaded), LeanStack)
        seen.append(logits_of_stack(loaded))
    assert (
        min(float((a - b).abs().max()) for a, b in ((seen[0], seen[1]), (seen[0], seen[2]), (seen[1], seen[2]))) > 0.01
    )
    for layer in loaded.peft.modules():
        if isinstance(layer, peft.tuners.lora.LoraLayer):
            layer.set_scale("default", 0.5)
    check(bases[kind], loaded)
    assert float((logits_of_stack(loaded) - seen[2]).abs().max()) > 0.01


def test_an_active_adapter_that_the_lean_stack_does_not_know_decides(bases):
    dora = LoraConfig(task_type="CAUSAL_LM", target_modules=["v_proj"], r=2, use_dora=True)
    loaded = wrap(bases["none"], FIRST, dora)
    check(bases["none"], loaded)
    assert isinstance(make_stack(loaded), LeanStack)
    loaded.peft.base_model.set_adapter(["default", "other0"])
    check(bases["none"], loaded)
    assert isinstance(make_stack(loaded), TransformersStack)


@pytest.mark.parametrize("use_dora", [False, True])
@pytest.mark.parametrize("kind", ["none", "nf4"])
def test_adapters_that_are_off_merged_or_gone(bases, kind, use_dora):
    base = bases[kind]
    loaded = wrap(base, replace(FIRST, use_dora=use_dora))
    before = logits_of_stack(loaded)
    with loaded.adapter_disabled():
        check(base, loaded, changes=False)
    assert before.equal(logits_of_stack(loaded))
    loaded.peft.merge_adapter()
    check(base, loaded)
    assert isinstance(make_stack(loaded), TransformersStack)
    with loaded.adapter_disabled():
        # 4-bit weights are packed anew when an adapter is taken out of them, so only the same model is held against it.
        want = logits_of_whole(loaded)
        torch.testing.assert_close(logits_of_stack(loaded), want, rtol=0, atol=TOLERANCE)
    joined = replace(base, model=wrap(base, FIRST).peft.merge_and_unload())
    check(base, joined)
    assert isinstance(make_stack(joined), LeanStack)


def _hook(model: Any) -> None:
    model.model.language_model.layers[1].mlp.register_forward_hook(lambda module, args, output: output * 2)


def _pre_hook(model: Any) -> None:
    norm = model.model.language_model.norm
    norm.register_forward_pre_hook(lambda module, args: (args[0] * 2 + 1,))


def _forward(model: Any) -> None:
    norm = model.model.language_model.layers[0].input_layernorm
    plain = norm.forward
    norm.forward = lambda hidden: plain(hidden) * 2


def _subclass(model: Any) -> None:
    projection = model.model.language_model.layers[2].mlp.up_proj

    class Doubled(torch.nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) * 2

    projection.__class__ = Doubled


def _bias(model: Any) -> None:
    model.model.language_model.layers[0].self_attn.o_proj.bias = torch.nn.Parameter(torch.full((64,), 0.2))


def _activation(model: Any) -> None:
    for layer in model.model.language_model.layers:
        layer.mlp.act_fn = torch.nn.GELU()


def _parametrized(model: Any) -> None:
    torch.nn.utils.parametrizations.weight_norm(model.model.language_model.layers[0].self_attn.v_proj)
    model.model.language_model.layers[0].self_attn.v_proj.parametrizations.weight.original0.data *= 3


@pytest.mark.parametrize("change", [_hook, _pre_hook, _forward, _subclass, _bias, _activation, _parametrized])
def test_layers_that_compute_something_else_are_left_to_transformers(bases, change):
    base = bases["none"]
    changed = replace(base, model=copy.deepcopy(base.model))
    change(changed.model)
    check(base, changed)
    assert isinstance(make_stack(changed), TransformersStack)


def test_other_precisions_are_left_to_transformers(bases):
    model = copy.deepcopy(bases["none"].model)
    model.model.language_model.layers[1].mlp.double()
    assert not is_lean_enough(model)
    assert is_lean_enough(bases["none"].model)


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_plain_lora_on_the_bundled_model_is_lean(quantization):
    loaded = load_model("nano", quantization=quantization, device="cpu")
    assert isinstance(make_stack(loaded), LeanStack)
    wrapped = attach_lora(loaded.model, rank=4, alpha=8, dropout=0.1, seed=0, vision=True)
    assert isinstance(make_stack(replace(loaded, peft=wrapped)), LeanStack)


def test_adapters_around_the_layers_are_refused_when_they_are_in_already(bases):
    prompt = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4)
    wrapped = get_peft_model(copy.deepcopy(bases["none"].model), prompt)
    with pytest.raises(ModelError, match="PROMPT_TUNING works around the layers"):
        CachedSequence(replace(bases["none"], peft=wrapped))
    invoked = LoraConfig(task_type="CAUSAL_LM", target_modules=LAYERS, alora_invocation_tokens=[50])
    with pytest.raises(ModelError, match="activated LoRA works around the layers"):
        CachedSequence(wrap(bases["none"], invoked))
