"""Answers into values: pure functions of status, headers and bytes.

Lines are cut at "\\n" alone: a text may hold U+2028 and others that a line splitter would cut at.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar, cast

from nbest_client.errors import Problem, ProblemError, TruncatedError, UnexpectedAnswerError, problem_error
from nbest_client.values import (
    Converted,
    Evaluation,
    FailedList,
    ListError,
    ListResult,
    Model,
    ModelLoaded,
    Models,
    RankedHypothesis,
    Ranking,
    Rescored,
    RescoredText,
    Scored,
    StoredWeights,
    TextScore,
    Token,
    Tuned,
    Usage,
    WeightsWritten,
)

T = TypeVar("T")
JSON, NDJSON, TEXT = "application/json", "application/x-ndjson", "text/plain"
_PROBLEM = "application/problem+json"


@dataclass(frozen=True)
class Reply:
    """An answer as it came, unpacked; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def kind(self) -> str:
        """The media type, without parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


def check(reply: Reply, now: float) -> None:
    """Raises the ProblemError of an answer that is one, UnexpectedAnswerError for a redirection.

    now  seconds since the epoch, for a Retry-After that is a date
    """
    if reply.status >= 400:
        raise _problem(reply, now)
    if reply.status >= 300:
        raise UnexpectedAnswerError(
            f"the service answers {reply.status}, to {reply.headers.get('location', 'nowhere')[:200]!r}; "
            "expected the address of the service itself"
        )


def _problem(reply: Reply, now: float) -> ProblemError:
    status = reply.status
    known: dict[str, Any] = {}
    if reply.kind == _PROBLEM:
        try:
            found = json.loads(reply.body)
        except ValueError:
            found = None
        known = found if isinstance(found, dict) else {}
    return problem_error(_told(known, status, reply, now))


def _told(known: dict[str, Any], status: int, reply: Reply, now: float | None) -> Problem:
    words = {name: str(known[name]) for name in ("pointer", "expected", "got") if known.get(name) is not None}
    return Problem(
        type=str(known.get("type") or f"http-{status}"),
        title=str(known.get("title") or f"HTTP status {status}"),
        status=status,
        detail=str(known.get("detail") or f"an answer {status} of type {reply.kind or 'unknown'}"),
        request_id=reply.headers.get("x-request-id"),
        retry_after_seconds=None if now is None else retry_after(reply.headers.get("retry-after"), now),
        **words,
    )


def retry_after(header: str | None, now: float) -> float | None:
    """Seconds of a Retry-After, which is a number or a date; None where there is none that can be read."""
    if header is None:
        return None
    if header.strip().isascii() and header.strip().isdigit():
        return float(header.strip())
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - now)
    except ValueError:
        return None


def rescored(reply: Reply) -> Rescored:
    """The answer to a whole /v1/rescore."""
    content = _json(reply)
    signature = _get(content, "signature", str)
    return Rescored(
        results=tuple(_result(one, signature) for one in _get(content, "results", list)),
        signature=signature,
        usage=_usage(content),
        request_id=_get(content, "request_id", str),
    )


def rescored_lines(reply: Reply, count: int) -> Rescored:
    """The answer in lines to /v1/rescore of `count` lists; raises TruncatedError where its end is missing."""
    _expect(reply, NDJSON)
    *whole, rest = reply.body.split(b"\n")
    last = _object(whole[-1]) if whole and not rest else {}
    if last.get("done") is not True:
        raise TruncatedError(f"the answer ends after {len(whole)} lines, without the one that says done")
    signature = _get(last, "signature", str)
    results = tuple(_result(_object(line), signature) for line in whole[:-1])
    if len(results) != count or _get(last, "ok", int) + _get(last, "failed", int) != count:
        raise UnexpectedAnswerError(f"{len(results)} results for {count} lists")
    return Rescored(results, signature, _usage(last), _get(last, "request_id", str))


def rescored_text(reply: Reply) -> RescoredText:
    """The answer to lists in text."""
    _expect(reply, TEXT)
    signature = reply.headers.get("x-nbest-signature")
    if signature is None:
        raise UnexpectedAnswerError("lists without a signature; expected the header X-Nbest-Signature")
    try:
        text = reply.body.decode()
    except UnicodeDecodeError as error:
        raise UnexpectedAnswerError(f"lists that are not UTF-8: {error}") from None
    return RescoredText(text, signature, reply.headers.get("x-nbest-warnings"))


def scored(reply: Reply, count: int) -> Scored:
    """The answer to /v1/score, of `count` texts."""
    content = _json(reply)
    scores = _get(content, "scores", list)
    if len(scores) != count:
        raise UnexpectedAnswerError(f"{len(scores)} scores for {count} texts")
    plain = {name: _get(content, name, float) for name in ("total_nat_log_prob", "perplexity")}
    return Scored(
        scores=tuple(
            _made(TextScore, one, tokens=_tokens(one["tokens"]) if one.get("tokens") is not None else None)
            for one in map(_is_object, scores)
        ),
        signature=_get(content, "signature", str),
        usage=_usage(content),
        request_id=_get(content, "request_id", str),
        **plain,
    )


def evaluation(reply: Reply) -> Evaluation:
    """The answer to /v1/evaluate."""
    content = _json(reply)
    low, high = _get(content, "interval", list)
    return _made(Evaluation, content, interval=(float(low), float(high)))


def converted(reply: Reply) -> Converted:
    """The answer to /v1/convert."""
    content = _json(reply)
    lists = tuple(map(_is_object, _get(content, "lists", list)))
    return _made(Converted, content, lists=lists, warnings=tuple(_get(content, "warnings", list)))


def tuned(reply: Reply) -> Tuned:
    """The answer to /v1/tune; raises the ProblemError of a last line that is one, TruncatedError."""
    _expect(reply, NDJSON)
    *whole, rest = reply.body.split(b"\n")
    last = _object(whole[-1]) if whole and not rest else {}
    if "done" not in last:
        raise TruncatedError(f"the answer ends after {len(whole)} lines, without the one that says done")
    if last["done"] is not True:
        error = _is_object(last.get("error"))
        raise problem_error(_told(error, 200, reply, None))
    return _made(Tuned, last, warnings=tuple(last.get("warnings") or ()), document=last)


def models(reply: Reply) -> Models:
    """The answer to /v1/models."""
    content = _json(reply)
    return Models(
        tuple(_model(one) for one in _get(content, "models", list)),
        tuple(str(name) for name in _get(content, "weights", list)),
    )


def model(reply: Reply) -> Model:
    """The answer to /v1/models/{name}."""
    return _model(_json(reply))


def model_loaded(reply: Reply) -> ModelLoaded:
    """The answer to a load."""
    content = _json(reply)
    return _made(ModelLoaded, content, replaced=content.get("replaced"))


def stored_weights(reply: Reply, name: str) -> StoredWeights:
    """The answer to /v1/weights/{name}."""
    content = _json(reply)
    etag = reply.headers.get("etag")
    if etag is None:
        raise UnexpectedAnswerError("a weight set without an ETag")
    return StoredWeights(name, content, etag, reply.headers.get("content-location"))


def weights_written(reply: Reply) -> WeightsWritten:
    """The answer to a PUT of a weight set."""
    content = _json(reply)
    return _made(WeightsWritten, content, version=content.get("version"))


def nothing(reply: Reply) -> None:
    """An answer without a body."""
    if reply.status != 204:
        raise UnexpectedAnswerError(f"the service answers {reply.status}; expected 204")


def text(reply: Reply) -> str:
    """A body of plain text."""
    _expect(reply, TEXT)
    return reply.body.decode(errors="replace")


def health(reply: Reply) -> str:
    """`alive` or `ready`."""
    return _get(_json(reply), "status", str)


def _result(content: Any, signature: str) -> ListResult:
    one = _is_object(content)
    if one.get("error") is not None:
        error = _is_object(one["error"])
        return FailedList(one.get("id"), _made(ListError, error))
    try:
        return Ranking(
            id=one["id"],
            changed=one["changed"],
            warnings=tuple(one.get("warnings") or ()),
            weights=_values(one["weights"]),
            ranking=tuple(map(_ranked, one["ranking"])),
            signature=signature,
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise UnexpectedAnswerError(f"a result of another shape than documented: {error!r}") from None


def _ranked(one: dict[str, Any]) -> RankedHypothesis:
    tokens = one.get("tokens")
    return RankedHypothesis(
        rank=one["rank"],
        index=one["index"],
        text=one["text"],
        score=one["score"],
        features=_values(one["features"]),
        contributions=one.get("contributions"),
        tokens=None if tokens is None else {name: _tokens(of_model) for name, of_model in tokens.items()},
    )


def _values(given: dict[str, Any]) -> dict[str, float | tuple[float, ...]]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}


def _tokens(given: Any) -> tuple[Token, ...]:
    if not isinstance(given, list):
        raise UnexpectedAnswerError("tokens that are no array")
    return tuple(_made(Token, _is_object(one)) for one in given)


def _usage(content: dict[str, Any]) -> Usage:
    return _made(Usage, _is_object(content.get("usage")))


def _model(content: Any) -> Model:
    one = _is_object(content)
    absent: dict[str, Any] = {"loading": False, "stale": False, "card": {}, "figures": {}}
    absent |= {"digest": None, "system": None, "bytes": None}
    return _made(Model, {**absent, **one})


def _made(kind: Callable[..., T], content: dict[str, Any], **given: Any) -> T:
    """A dataclass from the fields of the same names; UnexpectedAnswerError where one is missing."""
    values = dict(given)
    for field in fields(kind):  # type: ignore[arg-type] # every `kind` here is a dataclass
        if field.name in values:
            continue
        if field.name in content:
            values[field.name] = content[field.name]
        elif field.default is MISSING:
            raise UnexpectedAnswerError(f"an answer without {field.name!r}; expected a whole one")
    return kind(**values)


def _json(reply: Reply) -> dict[str, Any]:
    _expect(reply, JSON)
    return _object(reply.body)


def _expect(reply: Reply, kind: str) -> None:
    if reply.kind != kind:
        start = reply.body[:60].decode(errors="replace")
        raise UnexpectedAnswerError(
            f"an answer of type {reply.kind or 'unknown'} that begins {start!r}; "
            f"expected {kind}: is this the address of an nbest service?"
        )


def _object(body: bytes) -> dict[str, Any]:
    try:
        return _is_object(json.loads(body))
    except (ValueError, RecursionError) as error:  # of JSON, or of UTF-8
        raise UnexpectedAnswerError(f"an answer that is not JSON: {error}") from None


def _is_object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UnexpectedAnswerError(f"{type(value).__name__} in an answer; expected an object")
    return value


def _get(content: dict[str, Any], name: str, kind: type[T]) -> T:
    value = content.get(name)
    if not isinstance(value, kind) and not (kind is float and type(value) is int):
        raise UnexpectedAnswerError(f"{name!r} of an answer is {value!r:.60}; expected {kind.__name__}")
    return cast(T, value)
