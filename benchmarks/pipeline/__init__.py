"""How fast a step is when its parts overlap, and what learns from tokens of older weights."""
