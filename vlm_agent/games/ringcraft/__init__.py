"""Ringcraft: walk between bank and furnace and make rings. Rules, drawing, environment and demonstrator, each apart."""
