"""Decide who may ask: API keys, their cache, and the names that the service answers to."""
