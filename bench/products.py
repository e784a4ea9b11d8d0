"""What a CPU multiplies 4-bit layers in: float32 or bfloat16, its time and its memory.

    python bench/products.py [--json] [--passes 150]

`product` is one product of 512 x 192 values by a 192 x 1024 weight. `training` is a forward and a backward pass of
nano's language layers with an adapter, mean of many, each of another length, as windows of play have; `grown_mb` is how
far the process grows meanwhile. `sizes as they come` leaves out the filling up of tokens to a few sizes (see
`models.quantized.multiply`). The limit is `product`: nothing but products is quicker in bfloat16. Every way runs in a
process of its own, on one thread. Without instructions for bfloat16 its rows are slower than float32's, and
`vlm-agent` does not take it.
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from _material import load_bench_model
from _measuring import PeakMemory, Shown, Stopwatch, make_parser, print_rows, say

from vlm_agent.models import quantized
from vlm_agent.models.adapters import attach_lora
from vlm_agent.models.forward import run_language
from vlm_agent.models.loading import CPU_DTYPE_VARIABLE

SHORTEST, STEP = 150, 3
"""Tokens of the first pass, and by how many each is longer than the one before."""
PRODUCTS = 300


@dataclass(frozen=True)
class Way:
    """One way to multiply."""

    name: str
    """As the table calls it."""
    dtype: str
    """What 4-bit layers are multiplied in."""
    fills_up: bool = True
    """Whether tokens are filled up to a few sizes."""


WAYS = (
    Way("float32", "float32"),
    Way("bfloat16", "bfloat16"),
    Way("bfloat16, sizes as they come", "bfloat16", fills_up=False),
)


@dataclass(frozen=True)
class Row:
    """The figures of one way."""

    benchmark: str
    way: str
    product_ms: float
    """One product, by the process's own time."""
    times_float32: float
    """So many times as many products as float32's in the same time."""
    training_ms: float
    """One forward and backward pass, by the process's own time."""
    training_times_float32: float
    """The same for passes."""
    grown_mb: float
    """How far memory rose during the passes."""


def measure(way: Way, passes: int) -> tuple[float, float, float]:
    """Return milliseconds of a product and of a pass, and the megabytes grown by; called in a process of its own."""
    torch.set_num_threads(1)
    os.environ[CPU_DTYPE_VARIABLE] = way.dtype
    if not way.fills_up:
        quantized.TOKEN_BLOCK = 1
    with tempfile.TemporaryDirectory() as folder:
        loaded, _ = load_bench_model("nano", Path(folder))
    attach_lora(loaded.model, rank=16, alpha=16, dropout=0.0, seed=0)
    trained = [parameter for parameter in loaded.model.parameters() if parameter.requires_grad]
    generator = torch.Generator().manual_seed(0)

    def train(length: int) -> None:
        ids = torch.randint(20, 1000, (1, length), generator=generator)
        positions = torch.arange(length).expand(3, 1, -1)
        torch.autograd.grad(run_language(loaded.model, ids, positions).square().mean(), trained)

    lengths = [SHORTEST + STEP * number for number in range(passes)]
    train(lengths[-1])  # what any pass of this length takes is not growth
    order = torch.randperm(passes, generator=generator).tolist()
    with PeakMemory() as memory, Stopwatch() as watch:
        for number in order:
            train(lengths[number])
    return _time_product(getattr(torch, way.dtype)), 1000 * watch.cpu_s / passes, memory.peak_mb


@torch.inference_mode()
def _time_product(dtype: torch.dtype) -> float:
    values, weight = torch.randn(512, 192).to(dtype), torch.randn(1024, 192).to(dtype)
    quantized.multiply(values, weight)
    with Stopwatch() as watch:
        for _ in range(PRODUCTS):
            quantized.multiply(values, weight)
    return 1000 * watch.cpu_s / PRODUCTS


def main() -> None:
    """Print the figures, one way a line."""
    parser = make_parser(__doc__)
    parser.add_argument("--passes", type=int, default=150, help="how many passes, each of another length")
    args = parser.parse_args()
    found = []
    for way in WAYS:
        say(way.name)
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            found.append(pool.submit(measure, way, args.passes).result())
    (product_ms, training_ms, _), *_ = found
    rows = [
        Row("products", way.name, product, product_ms / product, training, training_ms / training, grown)
        for way, (product, training, grown) in zip(WAYS, found, strict=True)
    ]
    shown = Shown("4-bit layers on a CPU, one thread", "peer: float32. limit: times_float32 of the product alone.")
    print_rows(rows, shown, as_json=args.json)


if __name__ == "__main__":
    main()
