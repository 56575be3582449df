"""Check the sampler, the service and the prompts before the first step, and refuse in one line."""
