"""The server's log: lines for people, or JSON objects for machines, each with the request it belongs to."""

import json
import logging
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Literal

from service.keys import hide

LogFormat = Literal["text", "json"]
REQUEST_ID: ContextVar[str | None] = ContextVar("request_id", default=None)
_TEXT = "%(asctime)s %(levelname)s %(name)s %(message)s"


class Lines(logging.Formatter):
    """A line for people. Where a caller puts a key in a path or a name, it is not logged with it."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as its line, and the lines of its exception."""
        return hide(super().format(record))


class JsonLines(logging.Formatter):
    """One JSON object a line, in ASCII: nothing that is logged can look like another line.

    time, level, logger, message; request_id within a request; exception where there is one; and the fields
    of a record that has `fields`.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The record as its line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if (identity := REQUEST_ID.get()) is not None:
            line["request_id"] = identity
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return hide(json.dumps(line, default=str))


def log_of_a_server(kind: LogFormat = "text") -> None:
    """With times and tracebacks, in the place of the short notices that commands give of what is wrong."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if kind == "json" else Lines(_TEXT))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for room in ("nbest", "rescoring", "models"):
        logging.getLogger(room).handlers.clear()
        logging.getLogger(room).propagate = True
