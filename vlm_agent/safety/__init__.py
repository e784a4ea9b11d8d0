"""The last word before execution: rules that a chunk must keep, whatever wrote it."""
