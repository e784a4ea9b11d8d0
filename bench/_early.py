"""What has to come before transformers: Unsloth, where this process is to measure it. Imported first."""

from __future__ import annotations

import sys

from vlm_agent.training.engines import pick_engine

UNSLOTH_ALONE = "--unsloth-alone"
"""Says that this process measures what Unsloth has loaded, and nothing else."""

if UNSLOTH_ALONE in sys.argv:
    pick_engine("unsloth", "cuda")
