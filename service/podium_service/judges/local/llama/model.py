"""A GGUF model in llama.cpp, as a `LanguageModel`."""

import ctypes
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from podium_service.errors import ConfigError
from podium_service.judges.local.generation.language_model import Logits
from podium_service.judges.local.llama.library import load_library, read_text

MAX_BATCH_TOKENS = 64  # more at once are no faster on a CPU and need memory
_SEQUENCE = 0  # the context holds one
# Of llama.h: LLAMA_TOKEN_ATTR_UNKNOWN and _CONTROL, and _USER_DEFINED.
_CONTROL, _USER_DEFINED = 0b1001, 0b10000
_NO_TOKEN = -1


@dataclass(frozen=True, slots=True)
class LlamaOptions:
    """The options of loading a model.

    Attributes:
        context_tokens: tokens of its context; fewer if the model was trained with fewer.
        threads: threads that evaluate.
        flash_attention: off by default, because the library's author saw it stop the process on
            processors without AVX-VNNI, and the wheel is compiled without.
    """

    context_tokens: int = 8192
    threads: int = 1
    flash_attention: bool = False


class LlamaModel:
    """A GGUF model and its context.

    Raises:
        ConfigError: If llama.cpp cannot be loaded, or cannot load the file.
    """

    def __init__(self, path: Path, options: LlamaOptions) -> None:
        self._library = library = load_library()
        _require_gguf(path)
        library.llama_backend_init()
        parameters = library.llama_model_default_params()
        parameters.n_gpu_layers = 0
        self._model = library.llama_model_load_from_file(bytes(path), parameters)
        if not self._model:
            raise ConfigError(f"{path}: llama.cpp cannot load this model; the log says why")
        if any(
            has(self._model)
            for has in (library.llama_model_has_encoder, library.llama_model_has_recurrent)
        ):
            raise ConfigError(f"{path}: only transformers with a decoder alone can be served")
        self._vocabulary = library.llama_model_get_vocab(self._model)
        self._num_tokens = int(library.llama_vocab_n_tokens(self._vocabulary))
        self._context = self._open_context(path, options)
        self.context_tokens = int(library.llama_n_ctx(self._context))
        self.chat_template = self._metadata("tokenizer.chat_template")
        # Some files have the tokens of their template as user-defined ones. llama.cpp finds these
        # in any text, so `tokenize` must not show it a whole one.
        in_template = {
            text: token
            for text, token in self._read_tokens(_USER_DEFINED).items()
            if text in (self.chat_template or "")
        }
        self._found_in_text = re.compile("|".join(map(re.escape, in_template)) or r"(?!)")
        self.control_tokens: Mapping[str, int] = {**self._read_tokens(_CONTROL), **in_template}
        self.bos_token = _token_or_none(library.llama_token_bos(self._model))
        self.eos_token = _token_or_none(library.llama_token_eos(self._model))
        self.adds_bos = bool(library.llama_vocab_get_add_bos(self._vocabulary))
        self._batch = library.llama_batch_init(MAX_BATCH_TOKENS, 0, 1)

    def tokenize(self, text: str) -> list[int]:
        """Return the tokens of a text, none of which is a control token."""
        tokens: list[int] = []
        begin = 0
        for found in self._found_in_text.finditer(text):
            tokens += self._tokenize(text[begin : found.start() + 1])
            begin = found.start() + 1
        return tokens + self._tokenize(text[begin:])

    def _tokenize(self, text: str) -> list[int]:
        content = text.encode(errors="replace")
        size = len(content) + 2  # no token is empty, and at most two are added
        tokens = (ctypes.c_int32 * size)()
        count = self._library.llama_tokenize(
            self._model, content, len(content), tokens, size, False, False
        )
        if count < 0:
            raise RuntimeError(f"{len(content)} bytes are {-count} tokens")
        return list(tokens[:count])

    def piece(self, token: int) -> bytes:
        """Return the text of a token in UTF-8."""

        def fill(buffer: Any, size: int) -> int:
            return int(
                self._library.llama_token_to_piece(self._model, token, buffer, size, 0, True)
            )

        return read_text(fill) or b""

    def ends(self, token: int) -> bool:
        """Return whether a token ends the model's turn."""
        return bool(self._library.llama_token_is_eog(self._model, token))

    def evaluate(self, tokens: Sequence[int], position: int, *, wants_logits: bool) -> None:
        """Evaluate tokens, at most `MAX_BATCH_TOKENS` of them."""
        batch, count = self._batch, len(tokens)
        batch.n_tokens = count
        for index, token in enumerate(tokens):
            batch.token[index] = token
            batch.pos[index] = position + index
            batch.n_seq_id[index] = 1
            batch.seq_id[index][0] = _SEQUENCE
            batch.logits[index] = 0
        batch.logits[count - 1] = int(wants_logits)
        status = self._library.llama_decode(self._context, batch)
        if status:
            raise RuntimeError(f"llama_decode returned {status} for {count} tokens at {position}")

    def logits(self) -> Logits:
        """Return a view of the library's own array, which holds until the next evaluation."""
        pointer = self._library.llama_get_logits_ith(self._context, -1)
        return np.ctypeslib.as_array(pointer, shape=(self._num_tokens,))

    def forget_from(self, position: int) -> None:
        """Remove the tokens at `position` and after it from the context."""
        if not self._library.llama_kv_cache_seq_rm(self._context, _SEQUENCE, position, -1):
            raise RuntimeError(f"the context cannot be cut at {position}")

    def close(self) -> None:
        """Free the memory of the model; it cannot be used afterwards."""
        self._library.llama_batch_free(self._batch)
        self._library.llama_free(self._context)
        self._library.llama_free_model(self._model)

    def _open_context(self, path: Path, options: LlamaOptions) -> int:
        trained = int(self._library.llama_n_ctx_train(self._model))
        parameters = self._library.llama_context_default_params()
        parameters.n_ctx = min(options.context_tokens, trained or options.context_tokens)
        parameters.n_batch = parameters.n_ubatch = MAX_BATCH_TOKENS
        parameters.n_threads = parameters.n_threads_batch = options.threads
        parameters.flash_attn = options.flash_attention
        context = self._library.llama_init_from_model(self._model, parameters)
        if not context:
            raise ConfigError(
                f"{path}: llama.cpp cannot make a context of {parameters.n_ctx} tokens: "
                "name fewer by --context"
            )
        return int(context)

    def _metadata(self, key: str) -> str | None:
        def fill(buffer: Any, size: int) -> int:
            name = key.encode()
            return int(self._library.llama_model_meta_val_str(self._model, name, buffer, size))

        text = read_text(fill)
        return None if text is None else text.decode(errors="replace")

    def _read_tokens(self, attributes: int) -> dict[str, int]:
        """Return text -> token of all tokens that have one of the attributes."""
        get, text = self._library.llama_token_get_attr, self._library.llama_vocab_get_text
        return {
            text(self._vocabulary, token).decode(errors="replace"): token
            for token in range(self._num_tokens)
            if get(self._model, token) & attributes
        }


def _require_gguf(path: Path) -> None:
    """Raise ConfigError unless a file can be read and starts as GGUF files do."""
    try:
        with path.open("rb") as stream:
            start = stream.read(4)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    if start != b"GGUF":
        raise ConfigError(f"{path}: is no GGUF file, because it starts with {start!r}")


def _token_or_none(token: int) -> int | None:
    return None if token == _NO_TOKEN else int(token)
