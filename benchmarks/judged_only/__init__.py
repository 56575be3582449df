"""Runs whose task has no score: what a judge alone teaches, and what random rewards do."""
