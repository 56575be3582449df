"""Work on the groups, prompts and replies that the store has kept."""
