"""Read which label a reply answers with; `probabilities` is where to start."""

from podium_service.prompts.labels.probabilities import label_logprobs, read_probabilities

__all__ = ["label_logprobs", "read_probabilities"]
