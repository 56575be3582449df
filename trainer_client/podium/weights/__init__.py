"""Take the weights of a policy into a vLLM server, over the network and without files.

    plugin.py     tells vLLM of the backend `podium`; vLLM finds it by an entry point
    receiver.py   the backend, which runs in each worker of a server
    link.py       the group of a trainer and the workers of one server
    bucket.py     weights as one run of bytes

vLLM's environment needs `pip install .` in the clone and nothing more, because it has torch. The
trainer's side is `podium_trainer.samplers.stream`; link.py and bucket.py serve both.
"""
