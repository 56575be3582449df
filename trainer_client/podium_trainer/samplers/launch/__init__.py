"""Start the vLLM servers of a run as its children (`sampler.launch`), and let them share a GPU.

    open.py        opens all servers of a run, those that it starts and those that run already
    plugin.py      looks for Podium's plugin of vLLM, if weights go over the network
    plan.py        what is run: the command, the address and the GPUs of each server
    guard.py       a process between the run and a server, with which the server ends
    child.py       one start of a server, and what its log says
    launcher.py    starts all servers, and starts again those that end or hang
    shared_gpu.py  sends a server to sleep while the trainer needs the GPU of both

The launcher only holds processes. Which of the servers may be asked, and when they get weights, is
decided by samplers/membership.py, as for servers that a person has started.
"""
