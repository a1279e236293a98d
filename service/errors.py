"""One table: error class -> HTTP status; every error leaves as an RFC 9457 problem document.

    {"type": "non-finite-feature", "title": "A feature value is NaN or infinite", "status": 422,
     "detail": "...", "pointer": "/lists/0/hypotheses/3/features/ac", "expected": "...", "got": "..."}

`type` is the error's slug and stays the same for ever; the other words may change.
"""

import ast
import logging
import math
import re
from collections.abc import Iterable
from itertools import takewhile

from fastapi import FastAPI, Request
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from nbest.errors import (
    BusyError,
    ConfigError,
    FeatureError,
    FormatError,
    InputError,
    LimitError,
    ModelFileError,
    NbestError,
    NotFoundError,
    ReferenceMismatchError,
    WeightsError,
)

log = logging.getLogger("nbest.service")


class InvalidRequestError(FormatError):
    """The request is not of the documented shape."""

    slug = "invalid-request"


class UnsupportedMediaTypeError(FormatError):
    """The content type or content encoding is none that is understood."""

    slug = "unsupported-media-type"


class NotReadyError(BusyError):
    """The service is loading or draining, or the answer cannot come in time."""

    slug = "not-ready"


class DeadlineError(NotReadyError):
    """The request's deadline passed before its answer was ready."""

    slug = "deadline-exceeded"


class ProcessLostError(NotReadyError):
    """The process that scored ended before it was done; the same request can be sent again."""

    slug = "scoring-process-lost"


class BodyTimeoutError(FormatError):
    """The body did not come to its end."""

    slug = "request-timeout"


class WeightSetFileError(NbestError):
    """A weight set of the service cannot be read: a fault of the service, not of the request."""

    slug = "invalid-weight-set"


class ScoringFailedError(NbestError):
    """A model failed on these texts: a fault of the service, not of the request."""

    slug = "scoring-failed"


class UnauthorizedError(NbestError):
    """Who asks is not known."""

    slug = "unauthorized"

    def __init__(
        self, message: str, *, error: str = "", expected: str | None = None, got: str | None = None
    ) -> None:
        super().__init__(message, expected=expected, got=got)
        self.challenge = 'Bearer realm="nbest"' + (f', error="{error}"' if error else "")


class ForbiddenError(NbestError):
    """Who asks is known, and may not do this."""

    slug = "forbidden"

    def __init__(self, message: str, *, scope: str) -> None:
        super().__init__(message, expected=f"a key with the scope {scope}")
        self.challenge = f'Bearer realm="nbest", error="insufficient_scope", scope="{scope}"'


class KeysFileError(NbestError):
    """The service's keys cannot be read: a fault of the service, not of the request."""

    slug = "invalid-keys"


class ConflictError(NbestError):
    """What is asked for cannot be done to what is there."""

    slug = "conflict"


class PreconditionFailedError(NbestError):
    """What is there is not what the caller has seen."""

    slug = "precondition-failed"


class PreconditionMissingError(NbestError):
    """What is there is changed only by a request that says which state it has seen."""

    slug = "precondition-required"


class StorageError(NbestError):
    """The service cannot keep what was sent."""

    slug = "storage-failed"


# The nearest class in the error's ancestry decides, so a more special class may stand anywhere.
STATUS: dict[type[NbestError], int] = {
    NbestError: 500,
    InputError: 422,
    FormatError: 400,
    InvalidRequestError: 422,
    UnsupportedMediaTypeError: 415,
    BodyTimeoutError: 408,
    FeatureError: 422,
    WeightsError: 422,
    ReferenceMismatchError: 422,
    ConfigError: 422,
    NotFoundError: 404,
    LimitError: 413,
    UnauthorizedError: 401,
    ForbiddenError: 403,
    KeysFileError: 503,
    ConflictError: 409,
    PreconditionFailedError: 412,
    PreconditionMissingError: 428,
    StorageError: 507,
    ModelFileError: 503,  # the service's own file: the caller can only come back or tell the operator
    WeightSetFileError: 503,
    BusyError: 429,
    NotReadyError: 503,
    DeadlineError: 503,
}

_LONGEST_KEY = 200
_MENDED_SECONDS = 30  # what an operator has to mend is not worth asking for at once
_HYPOTHESIS = re.compile(r"^(/.*), hypothesis ([0-9]+)$")  # how columns name a row; a pointer names it so
_QUOTED = re.compile(r"""(['"])(.*?)(?:\1|(… \([0-9]+ characters\)))""", re.DOTALL)  # as `shorten` quotes
MEDIA_TYPE = "application/problem+json"
_HTTP_SLUGS = {404: "no-such-route", 405: "method-not-allowed"}


class ListFault(BaseModel):
    """What is wrong with one list, or with one request."""

    type: str = Field(examples=["non-finite-feature"])
    detail: str
    pointer: str | None = Field(default=None, description="JSON pointer (RFC 6901) to the offending value")
    expected: str | None = None
    got: str | None = None


class Problem(ListFault):
    """RFC 9457 problem details."""

    title: str
    status: int


def status_of(error: NbestError) -> int:
    """HTTP status of `error`, by its nearest ancestor in the table."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def list_fault(error: NbestError) -> ListFault:
    """`error` as it stands in the result of one list."""
    where = _HYPOTHESIS.sub(r"\1/hypotheses/\2", error.where or "")
    if where.startswith("/"):
        return _fault(error, error.message, where)
    # No JSON pointer but a line of a text body: it belongs to the words.
    return _fault(error, f"{where}: {error.message}" if where else error.message, None)


def _fault(error: NbestError, detail: str, where: str | None) -> ListFault:
    words = {"detail": detail, "pointer": where, "expected": error.expected, "got": _bare(error.got)}
    # They may quote the request, and JSON can spell lone surrogates, which UTF-8 cannot.
    sendable = {key: text and text.encode(errors="backslashreplace").decode() for key, text in words.items()}
    return ListFault.model_validate({"type": error.slug, **sendable})


def _bare(got: str | None) -> str | None:
    """`got` without the quotes of `shorten`, which a terminal needs and a JSON string does not."""
    found = _QUOTED.fullmatch(got or "")
    if found is None:
        return got
    quote, body, rest = found.groups()
    try:
        plain = ast.literal_eval(quote + body + quote)
    except (ValueError, SyntaxError):  # several of them, or words of another kind
        return got
    return plain + (rest or "") if isinstance(plain, str) else got


def problem(error: NbestError) -> Problem:
    """`error` as a problem document."""
    title = (type(error).__doc__ or error.slug).strip().split("\n")[0].rstrip(".")
    return Problem(**list_fault(error).model_dump(), title=title, status=status_of(error))


def problem_response(document: Problem, headers: dict[str, str] | None = None) -> Response:
    """The HTTP response of a problem document."""
    body = document.model_dump_json(exclude_none=True)
    return Response(body, status_code=document.status, media_type=MEDIA_TYPE, headers=headers)


async def on_nbest_error(request: Request, error: Exception) -> Response:
    """Anything raised on purpose."""
    assert isinstance(error, NbestError)
    request.state.cause = error.slug
    return problem_response(problem(error), _headers(error))


def _headers(error: NbestError) -> dict[str, str]:
    """When to come back, where that helps; or with what."""
    if isinstance(error, UnauthorizedError | ForbiddenError):
        return {"WWW-Authenticate": error.challenge}
    if isinstance(error, BusyError):
        return {"Retry-After": str(max(1, math.ceil(error.retry_after_seconds)))}
    return {"Retry-After": f"{_MENDED_SECONDS}"} if status_of(error) == 503 else {}


async def on_http_exception(request: Request, error: Exception) -> Response:
    """What the router says: no such path, wrong method."""
    assert isinstance(error, HTTPException)
    request.state.cause = _HTTP_SLUGS.get(error.status_code, "http-error")
    document = Problem(
        type=request.state.cause,
        title=str(error.detail),
        status=error.status_code,
        detail=str(error.detail),
    )
    return problem_response(document, dict(error.headers or {}))


async def on_caller_gone(request: Request, _: Exception) -> Response:
    """Nobody reads this; access logs show the status that others use for it."""
    request.state.cause = "caller-gone"
    log.info("the caller left before the answer: %s %s", request.method, request.url.path)
    return Response(status_code=499)


async def on_fault(request: Request, error: Exception) -> Response:
    """A fault of ours: logged with its traceback, told without it."""
    request.state.cause = "internal-error"
    log.error("unhandled error in %s %s", request.method, request.url.path, exc_info=error)
    document = Problem(
        type=request.state.cause,
        title="A fault of the service",
        status=500,
        detail="the service failed on this request; its log has the details",
    )
    return problem_response(document)


def install(app: FastAPI) -> None:
    """What is raised on purpose leaves as a problem document; for faults see service.headers."""
    app.add_exception_handler(NbestError, on_nbest_error)
    app.add_exception_handler(HTTPException, on_http_exception)
    app.add_exception_handler(ClientDisconnect, on_caller_gone)


def pointer(parts: Iterable[str | int]) -> str:
    """RFC 6901 pointer of a path of keys and indices; the whole document is the empty string.

    A key of absurd length is not sent back: the pointer ends above it.
    """
    steps = takewhile(lambda step: len(step) <= _LONGEST_KEY, map(str, parts))
    return "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in steps)
