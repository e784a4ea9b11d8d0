"""Sessions: recorded play on disk, written, read and repaired."""
