"""Defaults of `podium serve` that its help shows, apart from the server, which is slow to load."""

# A little more than the longest deadline of `podium-train`, so that draining fails no request.
GRACE_S = 320

MAX_CONNECTIONS = 4_096
