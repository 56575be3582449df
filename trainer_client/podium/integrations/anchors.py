"""Remember the first completion of each prompt, as the fixed opponent of all later ones."""

import json
from hashlib import sha256
from typing import Any

from podium.integrations.chat import Text

FIRST_COMPLETION = "first completion"  # where a hook takes the name of a column
MAX_PROMPTS = 10_000
MAX_CHARS = 100_000_000  # of all completions together, as JSON


class FirstCompletions:
    """The first completion of each prompt that this process has seen.

    It holds those of the first `MAX_PROMPTS` prompts, as far as they have no more than `MAX_CHARS`
    characters, in memory: a run that resumes begins anew.
    """

    def __init__(self) -> None:
        self._by_prompt: dict[str, Text] = {}
        self._num_chars = 0

    def anchor(self, prompt: Any, completion: Text) -> Text | None:
        """Return the first completion of the prompt; it is this one for a new prompt.

        None for a new prompt once the memory is full.

        Args:
            prompt: what is the same for all attempts at a prompt, as JSON values.
            completion: an attempt.
        """
        key = sha256(json.dumps(prompt, sort_keys=True, default=repr).encode()).hexdigest()
        if key not in self._by_prompt:
            num_chars = self._num_chars + len(json.dumps(completion, default=repr))
            if len(self._by_prompt) >= MAX_PROMPTS or num_chars > MAX_CHARS:
                return None
            self._by_prompt[key] = completion
            self._num_chars = num_chars
        return self._by_prompt[key]
