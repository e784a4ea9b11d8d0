"""How like the player an agent moves and times its input: their recorded sessions held against each other."""
