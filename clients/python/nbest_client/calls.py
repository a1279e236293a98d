"""Calls as values: what is sent, how its answer is read, whether it may be sent again. No I/O here."""

import gzip
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Generic, Literal, TypedDict, TypeVar
from urllib.parse import quote, urlencode

from nbest_client import reading
from nbest_client.errors import LimitError
from nbest_client.reading import JSON, NDJSON, TEXT, Reply
from nbest_client.values import (
    Converted,
    Evaluation,
    FailedList,
    Hypothesis,
    ListError,
    Model,
    ModelLoaded,
    Models,
    NbestList,
    Rescored,
    RescoredText,
    Scored,
    StoredWeights,
    Tuned,
    WeightsWritten,
)

T = TypeVar("T")
KEY_VARIABLE = "NBEST_KEY"
AnyList = NbestList | Mapping[str, Any]
AnyWeights = str | Mapping[str, Any]
_LEAST_PACKED = 1024  # bytes; shorter bodies fit a packet as they are


class RescoreOptions(TypedDict, total=False):
    """What /v1/rescore takes beside the lists.

    models            language models of the service that score the texts
    weights           a weight set's name there, or inline: {"features": {...}}, or what `nbest tune` wrote
    text              the text pipeline of the models; by default the weights' own
    top_k             most hypotheses in a ranking; all by default
    contributions     also weight times feature
    tokens            also each model's log-probability of every token
    unknown_feature   what to do with a feature that the weights do not name
    deadline_seconds  of the service for each request, and of this client for all its attempts
    """

    models: Sequence[str]
    weights: AnyWeights | None
    text: str | None
    top_k: int | None
    contributions: bool
    tokens: bool
    unknown_feature: Literal["error", "ignore"]
    deadline_seconds: float | None


@dataclass(frozen=True)
class Call(Generic[T]):
    """One request and how its answer is read.

    resend            whether it may be sent again though the first one perhaps arrived
    deadline_seconds  for all its attempts; None: as the client's policy says
    watch             is given each piece of the body as it comes; such an answer may take any time, as long
                      as there is no silence
    """

    method: str
    path: str
    read: Callable[[Reply], T]
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    resend: bool = True
    deadline_seconds: float | None = None
    watch: Callable[[bytes], None] | None = None


def key_of(key: str | None) -> str | None:
    """The key that was given, else NBEST_KEY's; raises ValueError, without it, for what cannot be one."""
    found = (os.environ.get(KEY_VARIABLE) if key is None else key) or None
    if found is not None and (not found.isascii() or not found.isprintable() or " " in found):
        raise ValueError("the key has characters that no key has")
    return found


def headers_of(key: str | None, *, compress: bool) -> dict[str, str]:
    """What every request carries."""
    headers = {"Accept-Encoding": "gzip" if compress else "identity", "User-Agent": "nbest-client"}
    return headers if key is None else {**headers, "Authorization": f"Bearer {key}"}


def packed(call: Call[T]) -> Call[T]:
    """The same call with its body compressed, where that is worth it."""
    if call.body is None or len(call.body) < _LEAST_PACKED:
        return call
    headers = {**call.headers, "Content-Encoding": "gzip"}
    return replace(call, body=gzip.compress(call.body, 1, mtime=0), headers=headers)


def rescore(lists: Sequence[AnyList], options: RescoreOptions, *, lines: bool = False) -> Call[Rescored]:
    """POST /v1/rescore; in `lines` its answer is NDJSON, which shows when it was cut."""
    body: dict[str, Any] = {"models": list(options.get("models", ()))}
    body |= {name: options[name] for name in ("weights", "text") if options.get(name) is not None}
    names = ("top_k", "contributions", "tokens", "unknown_feature", "deadline_seconds")
    said = {name: options[name] for name in names if options.get(name) is not None}  # type: ignore[literal-required]
    if said:
        body["options"] = said
    body["lists"] = [_list(one) for one in lists]
    read = partial(reading.rescored_lines, count=len(lists)) if lines else reading.rescored
    accept = {"Accept": f"{NDJSON}, application/problem+json" if lines else JSON}
    return _post("/v1/rescore", body, read, accept, options.get("deadline_seconds"))


def rescore_text(lists: str | bytes, options: Mapping[str, Any]) -> Call[RescoredText]:
    """POST /v1/rescore of Moses lists, which come back as such."""
    query: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    if "models" in query:
        query["models"] = ",".join(query["models"])
    return Call(
        "POST",
        "/v1/rescore" + (f"?{urlencode(query)}" if query else ""),
        reading.rescored_text,
        lists.encode() if isinstance(lists, str) else lists,
        {"Content-Type": f"{TEXT}; charset=utf-8", "Accept": TEXT},
        deadline_seconds=options.get("deadline_seconds"),
    )


def score(model: str, texts: Sequence[str], tokens: bool, deadline_seconds: float | None) -> Call[Scored]:
    """POST /v1/score."""
    body: dict[str, Any] = {"model": model, "texts": list(texts), "tokens": tokens}
    if deadline_seconds is not None:
        body["deadline_seconds"] = deadline_seconds
    return _post("/v1/score", body, partial(reading.scored, count=len(texts)), {}, deadline_seconds)


def evaluate(
    metric: str,
    hypotheses: Sequence[str],
    references: Sequence[str | Sequence[str]],
    tokenize: str,
    lowercase: bool,
) -> Call[Evaluation]:
    """POST /v1/evaluate."""
    body = {
        "metric": metric,
        "hypotheses": list(hypotheses),
        "references": [one if isinstance(one, str) else list(one) for one in references],
        "tokenize": tokenize,
        "lowercase": lowercase,
    }
    return _post("/v1/evaluate", body, reading.evaluation)


def convert(lists: str | bytes, beam_size: int | Sequence[int] | None) -> Call[Converted]:
    """POST /v1/convert."""
    sizes = [beam_size] if isinstance(beam_size, int) else beam_size or []
    query = f"?beam_size={','.join(map(str, sizes))}" if sizes else ""
    body = lists.encode() if isinstance(lists, str) else lists
    headers = {"Content-Type": f"{TEXT}; charset=utf-8"}
    return Call("POST", f"/v1/convert{query}", reading.converted, body, headers)


def tune(
    lists: Sequence[Mapping[str, Any]],
    settings: Mapping[str, Any],
    if_match: str | None,
    progress: Callable[[Mapping[str, Any]], object] | None,
) -> Call[Tuned]:
    """POST /v1/tune."""
    condition = {} if if_match is None else {"If-Match": if_match}
    headers = {"Accept": f"{NDJSON}, application/problem+json", **condition}
    call = _post("/v1/tune", {**settings, "lists": list(lists)}, reading.tuned, headers)
    return replace(call, watch=_Progress(progress))


class _Progress:
    """Tells of the lines on the way as they come."""

    def __init__(self, tell: Callable[[Mapping[str, Any]], object] | None) -> None:
        self._tell = tell
        self._rest = b""

    def __call__(self, piece: bytes) -> None:
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            with suppress(ValueError):  # what is wrong with the answer is said when it is read
                found = json.loads(line)
                if self._tell is not None and isinstance(found, dict) and "progress" in found:
                    self._tell(found["progress"])


def models() -> Call[Models]:
    """GET /v1/models."""
    return Call("GET", "/v1/models", reading.models)


def model(name: str) -> Call[Model]:
    """GET /v1/models/{name}."""
    return Call("GET", f"/v1/models/{_step(name)}", reading.model)


def load(name: str) -> Call[ModelLoaded]:
    """POST /v1/models/{name}: again is no harm, the same files are not loaded twice."""
    return Call("POST", f"/v1/models/{_step(name)}", reading.model_loaded)


def unload(name: str) -> Call[None]:
    """DELETE /v1/models/{name}: again is no harm."""
    return Call("DELETE", f"/v1/models/{_step(name)}", reading.nothing)


def get_weights(name: str) -> Call[StoredWeights]:
    """GET /v1/weights/{name}."""
    return Call("GET", f"/v1/weights/{_step(name)}", partial(reading.stored_weights, name=name))


def put_weights(name: str, document: Mapping[str, Any], if_match: str | None) -> Call[WeightsWritten]:
    """PUT /v1/weights/{name}; `if_match` is the ETag of what is replaced, None for a name that is new.

    The same content again changes nothing, so that the service takes it twice, whatever the conditions say.
    """
    condition = {} if if_match is None else {"If-Match": if_match}
    headers = {"Content-Type": JSON, **condition}
    return Call("PUT", f"/v1/weights/{_step(name)}", reading.weights_written, _dumped(document), headers)


def delete_weights(name: str, if_match: str) -> Call[None]:
    """DELETE /v1/weights/{name}: not again if the answer is lost, for it would be 404 after a success."""
    headers = {"If-Match": if_match}
    return Call("DELETE", f"/v1/weights/{_step(name)}", reading.nothing, headers=headers, resend=False)


def health(path: Literal["/livez", "/readyz"]) -> Call[str]:
    """GET /livez or /readyz."""
    return Call("GET", path, reading.health)


def metrics() -> Call[str]:
    """GET /metrics."""
    return Call("GET", "/metrics", reading.text)


def blocks(lists: Iterable[AnyList], most_hypotheses: int) -> Iterator[list[AnyList]]:
    """Runs of whole lists, of at most so many hypotheses; a list that has more is a run of its own."""
    cutter = Blocks(most_hypotheses)
    for one in lists:
        if block := cutter.add(one):
            yield block
    if cutter.block:
        yield cutter.block


class Blocks:
    """Cuts what is added, one by one; `block` is what is not cut off yet."""

    def __init__(self, most_hypotheses: int) -> None:
        self.block: list[AnyList] = []
        self._most = most_hypotheses
        self._hypotheses = 0

    def add(self, one: AnyList) -> list[AnyList]:
        """The block that is full without this list; an empty one where it still fits."""
        size = hypotheses_of(one)
        done: list[AnyList] = []
        if self.block and self._hypotheses + size > self._most:
            done, self.block, self._hypotheses = self.block, [], 0
        self.block.append(one)
        self._hypotheses += size
        return done


def hypotheses_of(one: AnyList) -> int:
    """How many hypotheses a list has; 1 for what is none: the service will say what is wrong with it."""
    given = one.hypotheses if isinstance(one, NbestList) else one.get("hypotheses")
    return max(1, len(given)) if isinstance(given, Sequence) else 1


def halves(block: list[AnyList], error: LimitError) -> tuple[list[AnyList], ...]:
    """The halves of a block that was too much at a time; none of one list; raises what is not the lists'."""
    if (error.pointer or "").startswith("/weights"):
        raise error
    middle = len(block) // 2
    return (block[:middle], block[middle:]) if middle else ()


def too_large(one: AnyList, error: LimitError) -> FailedList:
    """The result of a list that is too much all by itself."""
    problem = error.problem
    found = one.id if isinstance(one, NbestList) else one.get("id")
    fault = ListError(problem.type, problem.detail, problem.pointer, problem.expected, problem.got)
    return FailedList(found if isinstance(found, str) else None, fault)


def _post(
    path: str,
    body: Mapping[str, Any],
    read: Callable[[Reply], T],
    headers: Mapping[str, str] | None = None,
    deadline_seconds: float | None = None,
) -> Call[T]:
    said = {"Content-Type": JSON, **(headers or {})}
    return Call("POST", path, read, _dumped(body), said, deadline_seconds=deadline_seconds)


def _list(one: AnyList) -> Mapping[str, Any]:
    if not isinstance(one, NbestList):
        return one
    known: dict[str, Any] = {"id": one.id, "hypotheses": [_hypothesis(each) for each in one.hypotheses]}
    return {**known, "context": list(one.context)} if one.context else known


def _hypothesis(one: Hypothesis) -> dict[str, Any]:
    return {"text": one.text, "features": {name: _numbers(value) for name, value in one.features.items()}}


def _numbers(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _dumped(body: Mapping[str, Any]) -> bytes:
    """JSON; NaN goes as it is: the service says in the list's own result what is wrong with it."""
    return json.dumps(body, separators=(",", ":")).encode("ascii")


def _step(name: str) -> str:
    """A name as one step of a path; `.` and `..` would be taken for steps up."""
    if name in ("", ".", ".."):
        raise ValueError(f"not a name: {name!r}")
    return quote(name, safe="@")
