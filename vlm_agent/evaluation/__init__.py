"""Measuring: how well a policy plays, how sure that is, and what it should be held against."""
