"""Find out that an endpoint read only a part of a prompt, from its own count of tokens.

Some servers cut a prompt that is longer than their context and say nothing (Ollama keeps its end).
Their model then makes scores up for what it did not see.

The bound is far below what any tokenizer counts, because a false alarm would cost a whole group:

- A token is a word or less in the vocabularies in use; here it may be two words, or eight
  characters of a script without spaces. And a token has at most eight characters on average, where
  long texts come to four or five.
- Less than 512 tokens are no context. Such a count is another way of counting, as is a count of 0.
- An endpoint that has counted twice as much before has the context for it. A smaller count may
  leave out what was in a cache.
"""

import re

from podium_service.prompts.templates import Prompt

_LEAST_CONTEXT_TOKENS = 512
_MAX_CHARS_PER_TOKEN = 8
_MAX_WORDS_PER_TOKEN = 2
# Thai, Lao, Burmese, Khmer, Japanese and Chinese: here four characters count as a word.
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")


class TruncationCheck:
    """The check for the endpoints of one judge, which are taken to have equal contexts."""

    def __init__(self) -> None:
        self._most_read = 0

    def is_cut(self, prompt: Prompt, tokens_read: int) -> bool:
        """Return whether a prompt cannot have been read whole.

        Args:
            prompt: what was sent.
            tokens_read: the most that the endpoint may have read, by its own count; 0 if unknown.
        """
        self._most_read = max(self._most_read, tokens_read)
        if tokens_read < max(_LEAST_CONTEXT_TOKENS, self._most_read / 2):
            return False
        texts = [part for _, parts in prompt.messages for part in parts]
        if sum(map(len, texts)) < _MAX_CHARS_PER_TOKEN * tokens_read:
            return False
        return tokens_read < sum(map(_count_words, texts)) / _MAX_WORDS_PER_TOKEN


def _count_words(text: str) -> int:
    unspaced = 0 if text.isascii() else len(_UNSPACED.findall(text))
    return len(text.split()) + unspaced // 4
