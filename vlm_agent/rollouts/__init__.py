"""Playing: one policy in one environment, over one seed or many, and everything that is written down about it."""
