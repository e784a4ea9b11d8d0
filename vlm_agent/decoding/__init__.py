"""Writing answers that the action automaton accepts, fast, with a plain transformers model."""
