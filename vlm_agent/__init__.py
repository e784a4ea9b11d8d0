"""Record yourself playing, and get an agent that plays like you."""
