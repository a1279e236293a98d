"""The client that waits: every call blocks its thread; several threads may share one client."""

import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, Unpack

import httpx2

from nbest_client import calls
from nbest_client.calls import AnyList, Call, RescoreOptions
from nbest_client.errors import LimitError, NbestClientError
from nbest_client.reading import Reply, check
from nbest_client.retries import Attempts, Retry
from nbest_client.transport import base_of, in_time, reply_of, translated
from nbest_client.values import (
    Converted,
    Evaluation,
    ListResult,
    Model,
    ModelLoaded,
    Models,
    Rescored,
    RescoredText,
    Scored,
    StoredWeights,
    Tuned,
    WeightsWritten,
)

T = TypeVar("T")


class Client:
    """An nbest service at `url`; a context manager.

    key              of the service; by default NBEST_KEY of the environment, if there is one
    retry            when refused (429, 503) or cut off; `Retry(total_seconds=0)` never tries again
    timeout_seconds  of silence before a connection counts as lost
    compress         bodies and answers with gzip: for networks slower than some 100 MB/s
    http             an httpx2.Client of your own (proxies, certificates); it stays yours to close
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        key: str | None = None,
        *,
        retry: Retry | None = None,
        timeout_seconds: float = 120.0,
        compress: bool = False,
        http: httpx2.Client | None = None,
    ) -> None:
        self._base = base_of(url)
        self._headers = calls.headers_of(calls.key_of(key), compress=compress)
        self._retry = Retry() if retry is None else retry
        self._timeout_seconds = timeout_seconds
        self._compress = compress
        self._own = http is None
        self._http = httpx2.Client() if http is None else http

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self._base!r})"

    def close(self) -> None:
        """Connections are given back."""
        if self._own:
            self._http.close()

    def rescore(self, lists: Sequence[AnyList], **options: Unpack[RescoreOptions]) -> Rescored:
        """All lists in one request: a result each, in order; what is wrong with one is in its result."""
        return self._run(calls.rescore(lists, options))

    def rescore_stream(
        self,
        lists: Iterable[AnyList],
        *,
        block: int = 2000,
        in_flight: int = 4,
        **options: Unpack[RescoreOptions],
    ) -> Iterator[ListResult]:
        """A result for each list, in their order, for lists of any number: they need not fit into memory.

        `block` hypotheses a request, `in_flight` requests at a time; so much is read ahead, and no more. A
        block that the service finds too large is halved. Ending early waits for the requests under way.
        """
        stop = threading.Event()
        ahead: deque[Future[tuple[ListResult, ...]]] = deque()
        pool = ThreadPoolExecutor(in_flight, thread_name_prefix="nbest-client")
        try:
            for part in calls.blocks(lists, block):
                ahead.append(pool.submit(self._block, part, options, stop))
                if len(ahead) == in_flight:
                    yield from ahead.popleft().result()
            while ahead:
                yield from ahead.popleft().result()
        finally:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)

    def rescore_text(
        self,
        lists: str | bytes,
        *,
        models: Sequence[str] = (),
        weights: str | None = None,
        text: str | None = None,
        top_k: int | None = None,
        unknown_feature: str | None = None,
        deadline_seconds: float | None = None,
    ) -> RescoredText:
        """Moses lists in, Moses lists out, best first; weights by name."""
        options = {"models": models or None, "weights": weights, "text": text, "top_k": top_k}
        more = {"unknown_feature": unknown_feature, "deadline_seconds": deadline_seconds}
        return self._run(calls.rescore_text(lists, {**options, **more}))

    def score(
        self, model: str, texts: Sequence[str], *, tokens: bool = False, deadline_seconds: float | None = None
    ) -> Scored:
        """A log-probability for each text."""
        return self._run(calls.score(model, texts, tokens, deadline_seconds))

    def evaluate(
        self,
        metric: str,
        hypotheses: Sequence[str],
        references: Sequence[str | Sequence[str]],
        *,
        tokenize: str = "none",
        lowercase: bool = False,
    ) -> Evaluation:
        """A corpus score: `bleu`, `chrf`, `ter`, `wer`, `cer`, or a sum such as `bleu-0.5*ter`."""
        return self._run(calls.evaluate(metric, hypotheses, references, tokenize, lowercase))

    def convert(self, lists: str | bytes, *, beam_size: int | Sequence[int] | None = None) -> Converted:
        """Lists of any format that is one file (Moses, SRILM, NeMo, ...) in the shape of the API."""
        return self._run(calls.convert(lists, beam_size))

    def tune(
        self,
        lists: Sequence[Mapping[str, Any]],
        *,
        if_match: str | None = None,
        progress: Callable[[Mapping[str, Any]], object] | None = None,
        **settings: Any,
    ) -> Tuned:
        """Feature weights for lists with references (`"references": [...]` in each).

        `settings` are the API's: metric, models, optimizer, held_out, seed, name (to save them under), ...
        `progress` is told how far it is.
        """
        return self._run(calls.tune(lists, settings, if_match, progress))

    def models(self) -> Models:
        """Every model and the names of all weight sets."""
        return self._run(calls.models())

    def model(self, name: str) -> Model:
        """One model."""
        return self._run(calls.model(name))

    def load(self, name: str) -> ModelLoaded:
        """The model into memory, or replaced where its files have changed."""
        return self._run(calls.load(name))

    def unload(self, name: str) -> None:
        """The model out of memory; its next use loads it again."""
        self._run(calls.unload(name))

    def get_weights(self, name: str) -> StoredWeights:
        """A weight set NAME, or NAME@VERSION, with the ETag that replaces it."""
        return self._run(calls.get_weights(name))

    def put_weights(
        self, name: str, document: Mapping[str, Any], *, if_match: str | None = None
    ) -> WeightsWritten:
        """A weight set under a new name, or with `if_match` (its ETag, or `*`) in place of what is there."""
        return self._run(calls.put_weights(name, document, if_match))

    def delete_weights(self, name: str, *, if_match: str) -> None:
        """NAME means nothing any more; or its old version NAME@N is removed."""
        self._run(calls.delete_weights(name, if_match))

    def is_alive(self) -> bool:
        """Whether the process answers, asked once."""
        return self._is_well("/livez")

    def is_ready(self) -> bool:
        """Whether traffic may be sent there, asked once."""
        return self._is_well("/readyz")

    def metrics(self) -> str:
        """The figures for Prometheus."""
        return self._run(calls.metrics())

    def _is_well(self, path: Literal["/livez", "/readyz"]) -> bool:
        try:
            self._run(calls.health(path), once=True)
        except NbestClientError:
            return False
        return True

    def _block(
        self, part: list[AnyList], options: RescoreOptions, stop: threading.Event
    ) -> tuple[ListResult, ...]:
        try:
            return self._run(calls.rescore(part, options, lines=True), sleep=stop.wait).results
        except LimitError as error:
            smaller = calls.halves(part, error)
            if not smaller:
                return (calls.too_large(part[0], error),)
            return tuple(one for half in smaller for one in self._block(half, options, stop))

    def _run(self, call: Call[T], *, sleep: Callable[[float], object] = time.sleep, once: bool = False) -> T:
        if self._compress:
            call = calls.packed(call)
        policy = Retry(total_seconds=0) if once else self._retry
        attempts = Attempts(call, policy, self._timeout_seconds, time.monotonic())
        while True:
            try:
                reply = self._exchange(attempts)
                check(reply, time.time())
                return call.read(reply)
            except NbestClientError as error:
                wait = attempts.failed(error, time.monotonic(), random.random())
                if sleep(wait):  # nobody waits for it any more
                    raise

    def _exchange(self, attempts: Attempts) -> Reply:
        call = attempts.call
        with (
            translated(self._base, call),
            self._http.stream(
                call.method,
                self._base + call.path,
                content=call.body,
                headers={**self._headers, **call.headers},
                timeout=attempts.timeout(time.monotonic()),
                follow_redirects=False,
            ) as response,
        ):
            body = bytearray()
            for piece in response.iter_bytes():
                body += piece
                if call.watch is not None:
                    call.watch(piece)
                in_time(attempts, time.monotonic(), self._base)
            return reply_of(response, bytes(body))
