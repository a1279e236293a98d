"""The client for asyncio: as `Client`, every call awaited."""

import asyncio
import random
import time
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping, Sequence
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


class AsyncClient:
    """An nbest service at `url`; an asynchronous context manager. Arguments as of `Client`."""

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        key: str | None = None,
        *,
        retry: Retry | None = None,
        timeout_seconds: float = 120.0,
        compress: bool = False,
        http: httpx2.AsyncClient | None = None,
    ) -> None:
        self._base = base_of(url)
        self._headers = calls.headers_of(calls.key_of(key), compress=compress)
        self._retry = Retry() if retry is None else retry
        self._timeout_seconds = timeout_seconds
        self._compress = compress
        self._own = http is None
        self._http = httpx2.AsyncClient() if http is None else http

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"AsyncClient({self._base!r})"

    async def close(self) -> None:
        """Connections are given back."""
        if self._own:
            await self._http.aclose()

    async def rescore(self, lists: Sequence[AnyList], **options: Unpack[RescoreOptions]) -> Rescored:
        """All lists in one request: a result each, in order; what is wrong with one is in its result."""
        return await self._run(calls.rescore(lists, options))

    async def rescore_stream(
        self,
        lists: Iterable[AnyList] | AsyncIterable[AnyList],
        *,
        block: int = 2000,
        in_flight: int = 4,
        **options: Unpack[RescoreOptions],
    ) -> AsyncIterator[ListResult]:
        """As `Client.rescore_stream`; the lists may come from an asynchronous iterator.

        Ending early cancels the requests under way.
        """
        ahead: deque[asyncio.Task[tuple[ListResult, ...]]] = deque()
        try:
            async for part in _blocks(lists, block):
                ahead.append(asyncio.create_task(self._block(part, options)))
                if len(ahead) == in_flight:
                    for result in await _first(ahead):
                        yield result
            while ahead:
                for result in await _first(ahead):
                    yield result
        finally:
            for task in ahead:
                task.cancel()
            await asyncio.gather(*ahead, return_exceptions=True)

    async def rescore_text(
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
        return await self._run(calls.rescore_text(lists, {**options, **more}))

    async def score(
        self, model: str, texts: Sequence[str], *, tokens: bool = False, deadline_seconds: float | None = None
    ) -> Scored:
        """A log-probability for each text."""
        return await self._run(calls.score(model, texts, tokens, deadline_seconds))

    async def evaluate(
        self,
        metric: str,
        hypotheses: Sequence[str],
        references: Sequence[str | Sequence[str]],
        *,
        tokenize: str = "none",
        lowercase: bool = False,
    ) -> Evaluation:
        """A corpus score: `bleu`, `chrf`, `ter`, `wer`, `cer`, or a sum such as `bleu-0.5*ter`."""
        return await self._run(calls.evaluate(metric, hypotheses, references, tokenize, lowercase))

    async def convert(self, lists: str | bytes, *, beam_size: int | Sequence[int] | None = None) -> Converted:
        """Lists of any format that is one file (Moses, SRILM, NeMo, ...) in the shape of the API."""
        return await self._run(calls.convert(lists, beam_size))

    async def tune(
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
        return await self._run(calls.tune(lists, settings, if_match, progress))

    async def models(self) -> Models:
        """Every model and the names of all weight sets."""
        return await self._run(calls.models())

    async def model(self, name: str) -> Model:
        """One model."""
        return await self._run(calls.model(name))

    async def load(self, name: str) -> ModelLoaded:
        """The model into memory, or replaced where its files have changed."""
        return await self._run(calls.load(name))

    async def unload(self, name: str) -> None:
        """The model out of memory; its next use loads it again."""
        await self._run(calls.unload(name))

    async def get_weights(self, name: str) -> StoredWeights:
        """A weight set NAME, or NAME@VERSION, with the ETag that replaces it."""
        return await self._run(calls.get_weights(name))

    async def put_weights(
        self, name: str, document: Mapping[str, Any], *, if_match: str | None = None
    ) -> WeightsWritten:
        """A weight set under a new name, or with `if_match` (its ETag, or `*`) in place of what is there."""
        return await self._run(calls.put_weights(name, document, if_match))

    async def delete_weights(self, name: str, *, if_match: str) -> None:
        """NAME means nothing any more; or its old version NAME@N is removed."""
        await self._run(calls.delete_weights(name, if_match))

    async def is_alive(self) -> bool:
        """Whether the process answers, asked once."""
        return await self._is_well("/livez")

    async def is_ready(self) -> bool:
        """Whether traffic may be sent there, asked once."""
        return await self._is_well("/readyz")

    async def metrics(self) -> str:
        """The figures for Prometheus."""
        return await self._run(calls.metrics())

    async def _is_well(self, path: Literal["/livez", "/readyz"]) -> bool:
        try:
            await self._run(calls.health(path), once=True)
        except NbestClientError:
            return False
        return True

    async def _block(self, part: list[AnyList], options: RescoreOptions) -> tuple[ListResult, ...]:
        try:
            return (await self._run(calls.rescore(part, options, lines=True))).results
        except LimitError as error:
            smaller = calls.halves(part, error)
            if not smaller:
                return (calls.too_large(part[0], error),)
        return tuple([one for half in smaller for one in await self._block(half, options)])

    async def _run(self, call: Call[T], *, once: bool = False) -> T:
        if self._compress:
            call = calls.packed(call)
        policy = Retry(total_seconds=0) if once else self._retry
        attempts = Attempts(call, policy, self._timeout_seconds, time.monotonic())
        while True:
            try:
                reply = await self._exchange(attempts)
                check(reply, time.time())
                return call.read(reply)
            except NbestClientError as error:
                wait = attempts.failed(error, time.monotonic(), random.random())
            await asyncio.sleep(wait)

    async def _exchange(self, attempts: Attempts) -> Reply:
        call = attempts.call
        with translated(self._base, call):
            async with self._http.stream(
                call.method,
                self._base + call.path,
                content=call.body,
                headers={**self._headers, **call.headers},
                timeout=attempts.timeout(time.monotonic()),
                follow_redirects=False,
            ) as response:
                body = bytearray()
                async for piece in response.aiter_bytes():
                    body += piece
                    if call.watch is not None:
                        call.watch(piece)
                    in_time(attempts, time.monotonic(), self._base)
                return reply_of(response, bytes(body))


async def _first(ahead: "deque[asyncio.Task[tuple[ListResult, ...]]]") -> tuple[ListResult, ...]:
    """The oldest block's results; it stays there until then, to be cancelled with a caller who goes."""
    results = await ahead[0]
    ahead.popleft()
    return results


async def _blocks(
    lists: Iterable[AnyList] | AsyncIterable[AnyList], most_hypotheses: int
) -> AsyncIterator[list[AnyList]]:
    """As `calls.blocks`, of either kind of iterable."""
    if not isinstance(lists, AsyncIterable):
        for part in calls.blocks(lists, most_hypotheses):
            yield part
        return
    cutter = calls.Blocks(most_hypotheses)
    async for one in lists:
        if part := cutter.add(one):
            yield part
    if cutter.block:
        yield cutter.block
