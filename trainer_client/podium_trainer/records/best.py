"""Tell whether a step is the best so far, by what is measured on held-out prompts."""

from podium_trainer.records.metrics import Row

# The first of these that a row has is compared, from one evaluation to the next.
PROGRESS = ("held_out", "win_rate")


def progress(row: Row) -> float | None:
    """Return the number that says how good the policy is; None in a step without an evaluation."""
    numbers = (row.get(name) for name in PROGRESS)
    return next((float(each) for each in numbers if isinstance(each, int | float)), None)
