"""Speak to an endpoint in the words of its API; `base` says how to add another."""
