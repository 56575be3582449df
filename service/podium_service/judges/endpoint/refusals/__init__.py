"""Read what an endpoint says when it refuses a call: its `words`, and what they mean."""
