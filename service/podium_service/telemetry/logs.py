"""Write logs as one JSON object a line on stderr, with a request's id and without its texts."""

import logging
import sys

import structlog
from structlog import processors
from structlog.stdlib import LoggerFactory, ProcessorFormatter

from podium_service.errors import InternalError

log = structlog.get_logger(__name__)


def configure(level: str) -> None:
    """Send the records of structlog and of the standard library through one JSON renderer."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        processors.add_log_level,
        processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=LoggerFactory(),
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
