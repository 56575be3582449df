"""`podium mcp`: ranking as tools of the Model Context Protocol, for coding agents.

`backends` ranks, in this process or by a service; `tools` checks arguments and calls it; `answers`
writes what the agent reads; `server` and `command` put it on stdio or HTTP. To add a tool, add a
function and an entry to `TOOLS` in `tools`.
"""
