"""Train one model in many processes, the ranks, which `torchrun` starts.

    rank 0                                             ranks 1, 2, ...
    the whole run: service, sampler, data, logs        follow rank 0
    lead("update", ...)      ────────────────────────► take part in the update
    lead("gather")           ────────────────────────► take part in gathering the weights
    lead("save_optimizer")   ────────────────────────► write their share of the optimizer's state

processes.py    the ranks, and calls from rank 0 to all others
environment.py  reads what torchrun has set
watch.py        ends this process if another rank is silent
share_out.py    micro-batches -> as many for each rank
shard.py        a model -> each rank has a share of every weight

To let the ranks do one more thing together: lead them into it where rank 0 does it (`Ranks.lead`),
and give the followers a function of that name in `run.learner.follower_functions`.
What it raises ends the run, unless it is a `FailedTogether`, which all ranks must raise.
"""
