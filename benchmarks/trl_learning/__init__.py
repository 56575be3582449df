"""The same rewards in TRL's `GRPOTrainer` and in `podium-train`."""
