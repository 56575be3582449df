"""Calls going out to judges: who may start one, where to, and what it may cost.

`calls` is the loop; `admission` refuses early; `pace` keeps to rates a minute and `line` hands out
places at endpoints, both fairly between API keys (`turns`); `concurrency` and `breaker` say what an
`endpoint` can take; `allowance` keeps to spend limits; `hedge` asks a second time; `context` asks
how much a judge can read. `chat_client` sends, by way of a `resolver` that refuses link-local
addresses; a `reply` comes back.
"""
