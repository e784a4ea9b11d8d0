"""Training: LoRA adapters from recorded play, and the bundled model from nothing."""
