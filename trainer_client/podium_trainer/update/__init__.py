"""Turn ranked groups into new weights.

groups.py       attempts and rewards -> samples with advantages
advantages.py   rewards -> advantages; says how to add a scheme
loss.py         logprobs and advantages -> per-token losses; says how to add a loss
kl.py           logprobs of two models -> KL penalty
update.py       samples -> optimizer steps
"""
