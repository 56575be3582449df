"""Give vLLM servers all weights over the network: no files, and no folder that both sides see.

    stream.py     the weight sync, and whether servers can do it
    push.py       one version's weights, and how a server gets them
    links.py      the group with each server
    weights.py    the policy's weights under the names of a checkpoint, gathered where sharded
    beside.py     a request to a server while a thread does its part

The server's side is `podium.weights`, a backend of vLLM's own API of weight transfer.
"""
