"""Learning curves: what more sessions, and more training steps, bring."""
