"""Calls going out to judges: who may start one, where to, and what it may cost.

`calls` is the loop; `line` hands out places at endpoints, fairly between API keys; `concurrency`
and `breaker` say what an endpoint can take; `allowance` keeps to rates and spend limits.
"""
