"""Speak to one base URL of a judge; `endpoint` is where to start."""
