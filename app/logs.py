"""Log lines: one event each, with the ids of its request and job, and never a secret."""

import logging
import sys
from collections.abc import MutableMapping
from functools import lru_cache
from typing import Any

import structlog

OURS = "palimpsest"
log: Any = structlog.get_logger(OURS)

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
    last: Any = (
        structlog.processors.JSONRenderer()
        if format_ == "json"
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(),
            exception_formatter=structlog.dev.plain_traceback,  # the pretty one shows the values of variables
        )
    )
    rendering = [structlog.processors.format_exc_info, last] if format_ == "json" else [last]
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
