"""Load llama.cpp's shared library from the `ik-llama-cpp-python` wheel, and declare its functions.

The wheel's own classes sample in Python loops over the vocabulary and know one chat template, so
only its library and its C structures are used.
"""

import ctypes
import os
import sys
from collections.abc import Callable
from typing import Any

import structlog

from podium_service.errors import ConfigError
from podium_service.judges.local.llama.cpu import missing_instructions

_POINTER, _TEXT = ctypes.c_void_p, ctypes.c_char_p
_INT, _SIZE, _BOOL = ctypes.c_int32, ctypes.c_size_t, ctypes.c_bool
# What the wheel does not declare: name -> argument types, result type.
_DECLARATIONS: dict[str, tuple[list[Any], Any]] = {
    "llama_model_meta_val_str": ([_POINTER, _TEXT, _TEXT, _SIZE], _INT),
    "llama_kv_cache_seq_rm": ([_POINTER, _INT, _INT, _INT], _BOOL),
    "llama_n_ctx": ([_POINTER], ctypes.c_uint32),
    "llama_n_ctx_train": ([_POINTER], _INT),
    "llama_token_get_attr": ([_POINTER, _INT], ctypes.c_int),
    "llama_token_bos": ([_POINTER], _INT),
    "llama_token_eos": ([_POINTER], _INT),
    "llama_vocab_get_text": ([_POINTER, _INT], _TEXT),
    "llama_vocab_get_add_bos": ([_POINTER], _BOOL),
    "llama_model_has_encoder": ([_POINTER], _BOOL),
    "llama_model_has_recurrent": ([_POINTER], _BOOL),
}
_ERROR_LEVEL = 4  # GGML_LOG_LEVEL_ERROR in ggml.h
_LOG_CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
_ELSEWHERE = "or name a llama.cpp server, Ollama or vLLM in the judge's base_urls instead"

log = structlog.get_logger(__name__)


def load_library() -> Any:
    """Return the wheel's module of C functions and structures, which has no types.

    Raises:
        ConfigError: If the wheel is not installed, or this processor cannot run it.
    """
    if missing := missing_instructions():
        raise ConfigError(
            f"this processor lacks {', '.join(missing)}, which the wheel ik-llama-cpp-python "
            f"needs: serve the judge on another machine, {_ELSEWHERE}"
        )
    # Threads that wait for each other by spinning take the processor from the trainer beside them.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        from ik_llama_cpp import _ctypes_api as library
    except (ImportError, OSError) as error:
        python = ".".join(map(str, sys.version_info[:2]))
        raise ConfigError(
            f"the wheel ik-llama-cpp-python cannot be loaded by Python {python} ({error}): in "
            "the clone run pip install '.[service,judge]' with a Python 3.11 to 3.13 on x86-64 "
            f"Linux, {_ELSEWHERE}"
        ) from error
    for name, (arguments, result) in _DECLARATIONS.items():
        function = getattr(library._lib, name)
        function.argtypes, function.restype = arguments, result
        setattr(library, name, function)
    library._lib.llama_log_set(_ON_LOG, None)
    return library


def _log_error(level: int, text: bytes | None, _: Any) -> None:
    if level == _ERROR_LEVEL:
        log.error("llama_cpp", text=(text or b"").decode(errors="replace").strip())


_ON_LOG = _LOG_CALLBACK(_log_error)  # the library keeps a pointer to it


def read_text(fill: Callable[[Any, int], int]) -> bytes | None:
    """Return the text that a C function writes into a buffer; None if it has none.

    Args:
        fill: takes a buffer and its size, and returns the length of the text. A negative length is
            an error, or the size needed if the buffer was too small.
    """
    size = 64
    while True:
        buffer = ctypes.create_string_buffer(size)
        length = fill(buffer, size)
        if abs(length) < size:
            return buffer.raw[:length] if length >= 0 else None
        size = abs(length) + 1
