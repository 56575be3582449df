"""The ways to ask a judge that are compared, as entries of a judges file.

To add one: enter it in `WAYS`, with what the judges file says beside model and URL.
"""

from dataclasses import dataclass
from typing import Any

ONE_TOKEN = {"max_tokens": 1}
# Verdicts of passes can be read one after the other.
BY_PASSES = ("listwise", "best_of")
DEFAULT = "best_of short"
# Ways that cost several times as much as these can be asked about fewer groups.
CHEAP = (DEFAULT, "yes_no short")


@dataclass(frozen=True)
class Way:
    """One way to ask.

    Attributes:
        method, prompt: as in the judges file.
        passes: of a group of three or more; a pair is shown in two orders at most.
        settings: further ones.
    """

    method: str
    prompt: str
    passes: int
    settings: dict[str, Any]

    def passes_of(self, num_attempts: int) -> int:
        return min(self.passes, 2) if num_attempts == 2 else self.passes

    def judge(self, num_attempts: int) -> dict[str, Any]:
        """Return what the judges file says of it, for groups of this size."""
        own = {"method": self.method, "prompt": self.prompt, "passes": self.passes_of(num_attempts)}
        return own | self.settings


# A group of five has twenty ordered pairs; a budget of ten calls keeps their price near the others.
PAIRS = ONE_TOKEN | {"budget": {"calls": 10}}
WAYS: dict[str, Way] = {
    DEFAULT: Way("best_of", "short", 4, ONE_TOKEN),
    "best_of long": Way("best_of", "long", 4, ONE_TOKEN),
    "yes_no short": Way("yes_no", "short", 1, ONE_TOKEN),
    "yes_no long": Way("yes_no", "long", 1, ONE_TOKEN),
    "pairwise short": Way("pairwise", "short", 1, PAIRS),
    "pairwise long": Way("pairwise", "long", 1, PAIRS),
    "pointwise short": Way("pointwise", "short", 1, ONE_TOKEN),
    "pointwise long": Way("pointwise", "long", 1, ONE_TOKEN),
    "listwise short": Way("listwise", "short", 2, {"max_tokens": 400}),
    "listwise long": Way("listwise", "long", 2, {"max_tokens": 400}),
}
