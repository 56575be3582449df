"""Keep what was sampled at each step, and why it earned what it did: `rollouts.jsonl.zst`."""
