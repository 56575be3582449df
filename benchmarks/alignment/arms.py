"""The ways to use a judge that are compared, as entries of a judges file.

To add one: enter it in `ARMS`, with what the judges file says beside model and URL. `reading` says
whether the endpoint tells token probabilities; a real endpoint does what it does.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

Reading = Literal["text", "probabilities"]


@dataclass(frozen=True)
class Arm:
    """A way from a group to advantages.

    Attributes:
        judge: what the judges file says beside model and URL.
        reading: what a simulated endpoint tells.
        advantages: the trainer's schemes; the first one is the arm's own.
    """

    judge: dict[str, Any] = field(default_factory=dict)
    reading: Reading = "text"
    advantages: tuple[str, ...] = ("mean",)


DEFAULT = "default"
ARMS: dict[str, Arm] = {
    DEFAULT: Arm(advantages=("mean", "group_std")),
    "default, scores": Arm({"reward": "score"}),
    "default, short prompt": Arm({"prompt": "short"}),
    "rollout cost 10": Arm({"passes": {"min": 1, "max": 4, "rollout_cost": 10}}),
    "1 pass": Arm({"passes": 1}),
    "1 pass, no audit": Arm({"passes": 1, "audit": 0}),
    "2 passes": Arm({"passes": 2}),
    "4 passes": Arm({"passes": 4}),
    "4 passes, tested": Arm({"passes": 4, "signal_test": 0.05}),
    "subsets of 4": Arm({"method": "subsets", "block_size": 4}),
    "pairwise": Arm({"method": "pairwise"}),
    "pairwise, probabilities": Arm({"method": "pairwise"}, "probabilities"),
    "pointwise": Arm({"method": "pointwise"}),
    "pointwise, probabilities": Arm({"method": "pointwise"}, "probabilities"),
    "best_of": Arm({"method": "best_of"}, "probabilities"),
    "best_of, 1 pass": Arm({"method": "best_of", "passes": 1}, "probabilities"),
    "best_of, 2 passes": Arm({"method": "best_of", "passes": 2}, "probabilities"),
    "yes_no": Arm({"method": "yes_no"}, "probabilities"),
}
# RULER's advantages are divided by the group's sd by its trainer; centred ones are the kinder
# reading of its scores.
RULER_ADVANTAGES = ("group_std", "mean")
QUICK_ARMS = (DEFAULT, "1 pass")
