"""Measure the policy on held-out prompts: by the task's score, and by a judge against step 0."""
