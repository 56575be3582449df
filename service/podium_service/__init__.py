"""Podium's ranking service: groups in, rewards out. Start reading at `ranking/pipeline.py`."""

from importlib.metadata import version

__version__ = version("podium")
