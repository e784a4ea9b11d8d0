"""Gives every clip of recorded play a short goal: contact sheets, labelers, checks, label store, and the stage."""
