"""How well returned advantages point along the true ones, and what the judge was paid for it."""
