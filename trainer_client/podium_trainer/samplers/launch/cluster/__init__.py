"""Start processes on the machines of a Ray cluster (`--ray`).

    connection.py   connects to the cluster
    host.py         the actor that runs one process on its machine
    process.py      one start of such a process, as the run sees it

    run ──(plan)──► Ray: a machine with room ──► actor ──► guard ──► process
     ▲                                             │ lost, or the process has ended
     └─────────────────────────────────────────────┘ the run starts it again, wherever there is room

Ray places processes and tells when they have ended. What they say to each other does not go through
Ray: prompts, completions and weights go over HTTP, files and torch's process groups.
"""
