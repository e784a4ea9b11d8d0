"""Recordings of other programs, made into sessions: kinds are found from content, every repair and loss is counted."""
