"""Remember the first completion of each prompt, as the fixed opponent of all later ones."""

import json
from hashlib import sha256

from podium.integrations.chat import Text

FIRST_COMPLETION = "first completion"  # where a hook takes the name of a column
MAX_PROMPTS = 10_000


class FirstCompletions:
    """The first completion of each prompt that this process has seen.

    It holds those of the first `MAX_PROMPTS` prompts, in memory: a run that resumes begins anew.
    """

    def __init__(self) -> None:
        self._by_prompt: dict[str, Text] = {}

    def anchor(self, prompt: Text, completion: Text) -> Text | None:
        """Return the first completion of the prompt; it is this one for a new prompt.

        None for a new prompt after the first `MAX_PROMPTS`.
        """
        key = sha256(json.dumps(prompt, sort_keys=True, default=repr).encode()).hexdigest()
        if key not in self._by_prompt and len(self._by_prompt) < MAX_PROMPTS:
            self._by_prompt[key] = completion
        return self._by_prompt.get(key)
