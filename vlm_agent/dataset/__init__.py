"""From recorded sessions to a dataset of windows that serves any model."""
