"""Defend a judge against texts that address it instead of doing their task."""
