"""Qwen-VL checkpoints: loading, 4-bit weights, adapters, pictures and tokens."""
