"""Play attempts in environments: a state per attempt, calls side by side, faults kept apart.

environments    all environments of a run, and what becomes of their faults. Start reading here.
episode         one attempt's environment: its calls under a time limit, in the loop or a thread
event_loop      the loop of all async methods, which is replaced if one of them blocks it
processes       environments in processes, of which process_main is the other end
observations    what an environment may return
faults          how a call failed, in one line
"""
