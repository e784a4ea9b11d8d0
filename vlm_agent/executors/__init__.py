"""Carrying out decided chunks; the only place that may press anything."""
