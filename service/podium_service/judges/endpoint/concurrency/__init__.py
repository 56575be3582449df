"""Adapt how many calls an endpoint has at once to what it can take."""
