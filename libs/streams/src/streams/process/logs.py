"""Structured logs: one JSON object a line on stderr, with service, version and the ids of the current span."""

import logging
import sys
import time
from collections.abc import MutableMapping
from typing import Any, Final

import structlog
from opentelemetry import trace

from streams.process.build_info import version_of

Logger = structlog.stdlib.BoundLogger
LIBRARIES: Final = ("aiokafka", "faust", "mode", "uvicorn", "urllib3", "asyncio", "opentelemetry")
REPEAT_INTERVAL_S: Final = 10.0
KINDS_MAX: Final = 1_000
"""Number of kinds of lines that are remembered; beyond it all are said once more."""


def get_logger(name: str) -> Logger:
    """A logger whose events carry key-value pairs."""
    logger: Logger = structlog.stdlib.get_logger(name)
    return logger


def _add_trace_id(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"] = format(context.trace_id, "032x")
        event["span_id"] = format(context.span_id, "016x")
    return event


class RepeatFilter(logging.Filter):
    """Lets the same line of a library through now and then only, with how often it was left out meanwhile.

    Where one broker of several is away, a client tells of every attempt to reach it, many times a second. Lines are the
    same where logger, level and template are.
    """

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[tuple[str, int, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name.partition(".")[0] not in LIBRARIES:
            return True
        line = (record.name, record.levelno, str(record.msg))
        now_s = time.monotonic()
        said_s, left_out = self._said.get(line, (-REPEAT_INTERVAL_S, 0))
        if now_s - said_s < REPEAT_INTERVAL_S:
            self._said[line] = (said_s, left_out + 1)
            return False
        if len(self._said) >= KINDS_MAX:
            self._said.clear()
        self._said[line] = (now_s, 0)
        if left_out:
            record.msg, record.args = f"{record.getMessage()} (and {left_out} more like it)", ()
        return True


def configure_logs(service: str, level: str) -> None:
    """Sends our events and those of libraries through one JSON renderer."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_trace_id,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )

    version = version_of(service)

    def add_service(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event["service"] = service
        event.setdefault("version", version)
        return event

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                add_service,
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    handler.addFilter(RepeatFilter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for chatty in ("aiokafka", "faust", "mode", "uvicorn.access", "urllib3"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, logging.getLevelName(level)))
