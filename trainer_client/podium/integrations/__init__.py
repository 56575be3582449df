"""Hooks for the trainers of others: a file for each, which alone imports its trainer.

None of the trainers is a dependency of Podium, and this module imports nothing. `outcome` is what
all hooks share: what becomes of a group that failed, when a run is stopped, and the metrics.

To add one: a file here named like the trainer, tests in `tests/integrations/` with a
`requirements.txt`, and a page with its row in the table of `docs/integrations/index.md`.
"""
