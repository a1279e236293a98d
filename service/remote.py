"""A model of a service as a scorer: texts over HTTP, everything else where the lists are.

So the commands read, rank and write as they always do, in every format, and only models are elsewhere. It
needs what Python brings alone: whoever has `nbest` has this. Scoring changes nothing, so that what was
refused (429, 503) or lost on the way is sent again, later and later, until too much time has passed.
"""

import json
import random
import ssl
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any, NamedTuple
from urllib.parse import SplitResult, urlsplit

import numpy as np
from numpy.typing import NDArray

from nbest.errors import (
    BusyError,
    ConfigError,
    FormatError,
    InputError,
    LimitError,
    NbestError,
    NotFoundError,
    shorten,
)
from rescoring.scorer import ScoreArrays

_SILENCE_SECONDS = 300.0  # a busy server answers late; one that is gone closes the connection
_CONNECT_SECONDS = 10.0
_FIRST_CONTACT_SECONDS = 5.0  # a wrong address is said soon; a server that restarts has the total
_TOTAL_SECONDS = 600.0  # of one request with all its attempts
_FIRST_WAIT, _LONGEST_WAIT = 0.25, 15.0  # seconds, without a Retry-After
_AGAIN = (429, 502, 503, 504)
_ERRORS: dict[int, type[InputError]] = {
    401: ConfigError,
    403: ConfigError,
    404: NotFoundError,
    405: ConfigError,
    413: LimitError,
    415: ConfigError,
}


class Token(NamedTuple):
    """A scored word, or ``</s>``, as the server tells it."""

    token: str
    nat_log_prob: float
    is_oov: bool


@dataclass(frozen=True)
class Server:
    """Where a service is, and the key for it; raises ConfigError for what is no address or no key."""

    url: str
    key: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            known = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
            known = known and not (parts.username or parts.password or parts.query or parts.fragment)
        except ValueError:
            known = False
        if not known or not self.url.isascii() or not self.url.isprintable() or " " in self.url:
            raise ConfigError(
                "not the address of a service",
                where="--server",
                expected="http://HOST:PORT or https://HOST",
                got=shorten(self.url),
            )
        key = self.key or ""
        if not (key.isascii() and key.isprintable()) and key:
            raise ConfigError("the key has characters that no key has", where="--key")


class RemoteScorer:
    """The model `model` of a service, under the same name.

    digest  of the model that serves; an answer by another one is an error: numbers would be of two models
    """

    def __init__(self, server: Server, model: str, digest: str | None = None) -> None:
        self._connection: HTTPConnection | None = None
        self.name = model
        self._server = server
        self.digest = digest or ""
        self._has_met = False
        self._ask([""], tokens=False)

    def score(self, texts: Sequence[str]) -> ScoreArrays:
        """The server's scores of `texts`."""
        found = self._answers(texts, tokens=False)
        return ScoreArrays(
            _column(found, "nat_log_prob", np.float64),
            _column(found, "token_count", np.int64),
            _column(found, "oov_count", np.int64),
        )

    def score_tokens(self, texts: Sequence[str]) -> list[list[Token]]:
        """The server's tokens of `texts`."""
        try:
            return [
                [
                    Token(one["token"], float(one["nat_log_prob"]), bool(one["oov"]))
                    for one in answer["tokens"]
                ]
                for answer in self._answers(texts, tokens=True)
            ]
        except (KeyError, TypeError, ValueError):
            raise self._strange("tokens of another shape") from None

    def _answers(self, texts: Sequence[str], *, tokens: bool) -> list[dict[str, Any]]:
        """One answer for each text; what is too much at a time goes in halves."""
        if not texts:
            return []
        try:
            return self._ask(texts, tokens=tokens)
        except LimitError:
            if len(texts) == 1:
                raise
        middle = len(texts) // 2
        return [*self._answers(texts[:middle], tokens=tokens), *self._answers(texts[middle:], tokens=tokens)]

    def _ask(self, texts: Sequence[str], *, tokens: bool) -> list[dict[str, Any]]:
        body = json.dumps({"model": self.name, "texts": list(texts), "tokens": tokens}).encode("ascii")
        status, headers, content = self._until_answered(body)
        if status != 200:
            raise self._refused(status, content)
        answer = _object(content)
        signature, scores = answer.get("signature"), answer.get("scores")
        if not (isinstance(signature, str) and isinstance(scores, list) and len(scores) == len(texts)):
            kind = headers.get("content-type", "of no type")
            raise self._strange(f"an answer ({kind}) without a score for each text")
        self._check_digest(signature)
        return scores

    def _check_digest(self, signature: str) -> None:
        fields = [part.partition(":") for part in signature.split("|")]
        digest = next((digest for name, _, digest in fields if name == self.name), "")
        if not digest:
            raise self._strange(f"a signature without the model: {shorten(signature)}")
        if self.digest and digest != self.digest:
            raise ConfigError(
                f"the server has another model {self.name} now",
                where=self._server.url,
                expected=self.digest,
                got=digest,
            )
        self.digest = digest

    def _until_answered(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        """The first answer that is none to come back later; raises BusyError when the time is over."""
        began = time.monotonic()
        backoff = _FIRST_WAIT
        while True:
            reason, asked = "", None
            try:
                status, headers, content = self._exchange(body)
            except (OSError, HTTPException) as error:
                self.close()
                reason = f"cannot be reached: {str(error) or type(error).__name__}"
            else:
                self._has_met = True
                if status not in _AGAIN:
                    return status, headers, content
                detail = _object(content).get("detail")
                reason = f"answers {status}: {detail or 'busy'}"
                asked = _seconds(headers.get("retry-after"))
            jitter = backoff * random.random()
            wait = asked + jitter if asked is not None else (backoff + jitter) / 2
            total = _TOTAL_SECONDS if self._has_met else _FIRST_CONTACT_SECONDS
            if time.monotonic() + wait - began >= total:
                raise BusyError(f"{self._server.url}: the server {reason}", retry_after_seconds=wait)
            time.sleep(wait)
            backoff = min(_LONGEST_WAIT, 2 * backoff)

    def _exchange(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        parts = urlsplit(self._server.url)
        if self._connection is None or self._connection.sock is None:
            self._connection = _connected(parts)
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self._server.key:
            headers["Authorization"] = f"Bearer {self._server.key}"
        self._connection.request("POST", f"{parts.path.rstrip('/')}/v1/score", body, headers)
        answer = self._connection.getresponse()
        content = answer.read()
        found = {name.lower(): value for name, value in answer.getheaders()}
        is_json = found.get("content-type", "application/json") == "application/json"
        if answer.status == 200 and is_json and not _object(content):  # http.client notices no end in a head
            raise HTTPException("the answer was cut")
        return answer.status, found, content

    def _refused(self, status: int, content: bytes) -> NbestError:
        told = _object(content)
        words = {key: str(told[key]) for key in ("expected", "got") if told.get(key) is not None}
        where = f"{self._server.url} {told.get('pointer') or ''}".rstrip()
        if status >= 500 or status < 400 or not told:
            return self._strange(f"{status} {told.get('detail', '')}".rstrip())
        detail = str(told.get("detail", "refused"))
        return _ERRORS.get(status, FormatError)(detail, where=where, **words)

    def _strange(self, got: str) -> NbestError:
        return NbestError(
            "not the answer of an nbest service", where=self._server.url, expected="scores", got=got
        )

    def __del__(self) -> None:
        self.close()  # a command ends without telling its scorers

    def close(self) -> None:
        """The connection is given back; the next request makes another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _connected(parts: SplitResult) -> HTTPConnection:
    assert parts.hostname is not None
    if parts.scheme == "https":
        context = ssl.create_default_context()
        found: HTTPConnection = HTTPSConnection(
            parts.hostname, parts.port, timeout=_CONNECT_SECONDS, context=context
        )
    else:
        found = HTTPConnection(parts.hostname, parts.port, timeout=_CONNECT_SECONDS)
    found.connect()
    found.sock.settimeout(_SILENCE_SECONDS)
    found.auto_open = 0  # a connection that the server closed is made anew here, with its times
    return found


def _column(answers: Sequence[dict[str, Any]], name: str, kind: Any) -> NDArray[Any]:
    try:
        return np.array([answer[name] for answer in answers], dtype=kind)
    except (KeyError, TypeError, ValueError):
        raise NbestError("an answer without numbers", expected=name, got="something else") from None


def _object(content: bytes) -> dict[str, Any]:
    """A JSON object; of anything else an empty one."""
    found = None
    with suppress(ValueError, RecursionError):
        found = json.loads(content)
    return found if isinstance(found, dict) else {}


def _seconds(header: str | None) -> float | None:
    """Seconds of a Retry-After, which nbest's services give as a number."""
    found = (header or "").strip()
    return float(found) if found.isascii() and found.isdigit() else None
