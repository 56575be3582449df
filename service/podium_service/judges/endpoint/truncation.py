"""Find out that an endpoint read only a part of a prompt, from its own count of tokens.

Some servers cut a prompt that is longer than their context and say nothing (Ollama keeps its end).
Their model then makes scores up for what it did not see.

The bound is far below what any tokenizer counts, because a false alarm would cost a whole group:

- A token is a word or less in the vocabularies in use; here it may be one and a half, or six
  characters of a script without spaces. And a token has at most six characters on average, where
  long texts come to four or five.
- Less than 512 tokens are no context. Such a count is another way of counting, as is a count of 0.
- An endpoint that has counted twice as much before has the context for it. A smaller count may
  leave out what was in a cache.

A prompt that was trimmed after such a cut must be counted as less than the cut one. If the count is
the same again, it is the count of what was left of a prompt once more.
"""

import re

from podium_service.prompts.templates import Prompt

_LEAST_CONTEXT_TOKENS = 512
_MAX_CHARS_PER_TOKEN = 6
_MAX_WORDS_PER_TOKEN = 1.5
_SAME = 0.02  # two counts that differ by no more than this share are the same
# Thai, Lao, Burmese, Khmer, Japanese and Chinese: here four characters count as a word.
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")


class TruncationCheck:
    """The check for the endpoints of one judge, which are taken to have equal contexts."""

    def __init__(self) -> None:
        self._most_read = 0
        self._cut_to = 0  # the count of the last prompt that was cut; 0 before the first one

    def is_cut(self, prompt: Prompt, tokens_read: int) -> bool:
        """Return whether a prompt cannot have been read whole.

        Args:
            prompt: what was sent.
            tokens_read: the most that the endpoint may have read, by its own count; 0 if unknown.
        """
        self._most_read = max(self._most_read, tokens_read)
        if tokens_read < max(_LEAST_CONTEXT_TOKENS, self._most_read / 2):
            return False
        if self._cut_to and abs(tokens_read - self._cut_to) <= _SAME * self._cut_to:
            return True
        texts = prompt.texts
        if sum(map(len, texts)) < _MAX_CHARS_PER_TOKEN * tokens_read:
            return False
        if tokens_read >= sum(map(_count_words, texts)) / _MAX_WORDS_PER_TOKEN:
            return False
        self._cut_to = tokens_read
        return True


def _count_words(text: str) -> int:
    unspaced = 0 if text.isascii() else len(_UNSPACED.findall(text))
    return len(text.split()) + unspaced // 4
