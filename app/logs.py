"""Log lines: one event each, with the ids of its request and job, and never a secret."""

import logging
import re
import sys
from collections.abc import MutableMapping
from functools import lru_cache
from typing import Any

import structlog

OURS = "palimpsest"
log: Any = structlog.get_logger(OURS)

_NEEDS_QUOTES = re.compile(r"[\s=\"']|[^ -~]")
_SECRET = ("password", "token", "secret", "authorization", "cookie", "api_key")


def hide_secrets(_logger: Any, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Whatever is called like a secret is not written, whoever logs it."""
    for key in event:
        if _is_secret(key):
            event[key] = "(hidden)"
    return event


@lru_cache(maxsize=500)
def _is_secret(key: str) -> bool:
    return any(word in key.lower() for word in _SECRET)


def write_line(_logger: Any, _name: str, event: MutableMapping[str, Any]) -> str:
    """As it looks on a terminal, without colours; in a third of the time, as there is a line for every request."""
    trace = event.pop("exception", "")
    head = f"{event.pop('timestamp', '')} [{event.pop('level', ''):<9}] {event.pop('event', ''):<30}"
    line = " ".join([head, *(f"{key}={_as_said(event[key])}" for key in sorted(event))])
    return f"{line}\n{trace}" if trace else line


def _as_said(value: Any) -> str:
    return value if isinstance(value, str) and value and not _NEEDS_QUOTES.search(value) else repr(value)


class Lines(structlog.stdlib.ProcessorFormatter):
    """Events of ours are lines already when they come here, those of the libraries are not."""

    def format(self, record: logging.LogRecord) -> str:
        return record.getMessage() if record.name == OURS else super().format(record)


def set_up_logs(format_: str, level: str) -> None:
    """Plain lines for a terminal or JSON for a collector, for our events and for those of the libraries."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso" if format_ == "json" else "%H:%M:%S", utc=format_ == "json"),
        hide_secrets,
    ]
    # The pretty traceback would show the values of variables.
    in_colours = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    last: Any = in_colours if sys.stderr.isatty() else write_line
    if format_ == "json":
        last = structlog.processors.JSONRenderer()
    rendering = [last] if last is in_colours else [structlog.processors.format_exc_info, last]
    structlog.configure(
        processors=[*shared, *rendering],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        Lines(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for noisy in ("httpx", "httpcore", "urllib3", "PIL", "uvicorn.access"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
