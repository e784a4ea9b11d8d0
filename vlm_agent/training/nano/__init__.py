"""How nano is made from nothing: scenes of our own games, a dense vision stage, then following instructions."""
