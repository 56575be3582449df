"""Podium's ranking service: groups in, rewards out. Start reading at `ranking.py`."""

__version__ = "0.1.0"
