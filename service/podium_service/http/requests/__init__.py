"""Read the bodies of requests: their size, their memory, and callers who leave."""
