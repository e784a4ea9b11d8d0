"""Measuring without a game: what a policy answers to recorded windows, held against what the player did."""
