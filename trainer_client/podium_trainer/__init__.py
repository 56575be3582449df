"""Podium's trainer: rollouts, rewards over HTTP, GRPO updates. Start reading at `train.py`."""
