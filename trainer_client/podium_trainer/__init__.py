"""A GRPO trainer: rollouts, rewards of a Podium service, updates. Start reading at `train.py`."""
