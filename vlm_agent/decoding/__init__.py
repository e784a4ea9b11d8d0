"""Writing answers that the action automaton accepts, fast, with a plain transformers model."""

# First of all: it keeps bitsandbytes, which libraries used here bring along, from warning when it is imported.
import vlm_agent.models  # noqa: F401
