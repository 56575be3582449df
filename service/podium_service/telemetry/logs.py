"""Write logs as one JSON object a line on stderr, with a request's id and without its texts."""

import logging
import sys
from contextlib import suppress
from typing import Any

import structlog
from structlog import processors
from structlog.stdlib import ProcessorFormatter

from podium_service.errors import InternalError

log = structlog.get_logger(__name__)


class _Stderr:
    """Writes the lines of structlog; one that cannot be written is dropped.

    The logger of the standard library would look for the caller of each line, and take three times
    as long.
    """

    def __init__(self, *_: Any) -> None:
        self._stderr = sys.stderr

    def msg(self, line: str) -> None:
        with suppress(OSError, ValueError):
            self._stderr.write(f"{line}\n")
            self._stderr.flush()

    debug = info = warning = error = critical = exception = msg


def configure(level: str) -> None:
    """Write lines of structlog and of the standard library by one JSON renderer."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        processors.add_log_level,
        processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, processors.format_exc_info, processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=_Stderr,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    to_json: list[structlog.typing.Processor] = [
        ProcessorFormatter.remove_processors_meta,
        processors.format_exc_info,
        processors.JSONRenderer(),
    ]
    handler.setFormatter(ProcessorFormatter(processors=to_json, foreign_pre_chain=shared))
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    # These log URLs and bodies of requests; our own lines say what matters of them.
    for name in ("httpx", "httpx2", "httpcore", "httpcore2", "openai"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("uvicorn.access").disabled = True


def report_bug(error: Exception) -> InternalError:
    """Log an unforeseen exception with its traceback, and return the error to answer with.

    The answer says nothing about the exception, because its text may quote a request.
    """
    log.error("bug", exc_info=error)
    return InternalError("this is a bug in the service: report it with the request id")
