"""Qwen-VL checkpoints: loading, 4-bit weights, adapters, pictures and tokens."""

import logging

# On CPUs with AVX512-BF16 bitsandbytes warns at import that it found no kernel from a hub; none is wanted.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
