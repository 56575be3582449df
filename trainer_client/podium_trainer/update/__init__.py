"""Turn ranked groups into new weights.

groups.py       attempts and rewards -> samples with advantages
advantages.py   rewards -> advantages; says how to add a scheme
ratios.py       logprobs of two models -> ratios and truncated weights
loss.py         logprobs and advantages -> per-token losses; says how to add a loss
denominators.py tokens of each attempt -> the weight of a token's loss
kl.py           logprobs of two models -> KL penalty
mini_batch.py   samples of groups -> mini-batches
batch_loss.py   a micro-batch -> its share of the loss
update.py       samples -> optimizer steps
"""
