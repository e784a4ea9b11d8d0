"""Training: LoRA adapters from recorded play, and the bundled model from nothing."""

# First of all: it keeps bitsandbytes, which libraries used here bring along, from warning when it is imported.
import vlm_agent.models  # noqa: F401
