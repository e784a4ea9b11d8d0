"""The built-in games: pure rules on a virtual clock, drawn by us, played through device events."""
