import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbest.errors import BusyError, LimitError
from service.batching import Batcher, fair_shares, words
from service.errors import ScoringFailedError


class Lengths:
    """The call under the batcher: a text's answer is its length; counts calls, can be held back."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, texts: Sequence[str]) -> list[int]:
        self.calls.append(list(texts))
        assert self.gate.wait(10)
        for text in texts:
            if text == "crash":
                raise RuntimeError("no")
            if text == "too long":
                raise LimitError("too long")
        return [len(text) for text in texts]


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("never came true")


async def gather_behind(call: Lengths, batcher: Batcher[int], *jobs: list[str]) -> list[dict[str, int]]:
    """The answers of `jobs` that all arrived while a first call was running."""
    call.gate.clear()
    first = asyncio.create_task(_ask(batcher, ["first"]))
    await until(lambda: len(call.calls) == 1)
    tasks = [asyncio.create_task(_ask(batcher, job)) for job in jobs]
    await asyncio.sleep(0.02)
    call.gate.set()
    await first
    return list(await asyncio.gather(*tasks))


async def _ask(batcher: Batcher[int], texts: list[str]) -> dict[str, int]:
    return (await batcher(texts)).by_text


def test_concurrent_requests_share_one_call_and_get_their_own_answers(executor: ThreadPoolExecutor) -> None:
    call = Lengths()
    batcher: Batcher[int] = Batcher(call, executor, batch_words=1000, queue_words=1000)
    answers = asyncio.run(gather_behind(call, batcher, ["a", "bb"], ["bb", "ccc", "bb"], ["dddd"]))
    assert answers == [{"a": 1, "bb": 2}, {"bb": 2, "ccc": 3}, {"dddd": 4}]
    assert call.calls == [["first"], ["a", "bb", "ccc", "dddd"]]  # one call, "bb" once


def test_no_texts_make_no_call(executor: ThreadPoolExecutor) -> None:
    call = Lengths()
    batcher: Batcher[int] = Batcher(call, executor, batch_words=10, queue_words=10)
    assert asyncio.run(_ask(batcher, [])) == {}
    assert call.calls == []


def test_a_huge_request_does_not_delay_a_small_one(executor: ThreadPoolExecutor) -> None:
    call = Lengths()
    batcher: Batcher[int] = Batcher(call, executor, batch_words=20, queue_words=10_000)
    huge = [f"text {n}" for n in range(100)]  # 3 words of cost each

    async def run() -> tuple[int, list[dict[str, int]]]:
        call.gate.clear()
        first = asyncio.create_task(_ask(batcher, ["first"]))
        await until(lambda: len(call.calls) == 1)
        large = asyncio.create_task(_ask(batcher, huge))
        small = asyncio.create_task(_ask(batcher, ["x"]))
        await asyncio.sleep(0.02)
        call.gate.set()
        await first
        small_answer = await small
        calls_until_small = len(call.calls)
        return calls_until_small, [small_answer, await large]

    calls_until_small, (small_answer, large_answer) = asyncio.run(run())
    assert calls_until_small <= 3  # the first, the batch with "x", perhaps the next that has begun
    assert "x" in call.calls[1]
    assert small_answer == {"x": 1}
    assert large_answer == {text: len(text) for text in huge}
    assert all(sum(map(words, texts)) <= 20 for texts in call.calls)


def test_calls_are_as_long_as_the_measured_speed_allows(
    executor: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.batching._CALL_SECONDS", 0.02)
    monkeypatch.setattr("service.batching._LEAST_WORDS", 90)
    call = Lengths()

    def steady(texts: Sequence[str]) -> list[int]:
        time.sleep(sum(map(words, texts)) / 50_000)  # at most 50,000 words a second: at most 1,000 a call
        return call(texts)

    batcher: Batcher[int] = Batcher(steady, executor, batch_words=5000, queue_words=10**9)
    texts = [f"w {n}" for n in range(5000)]  # 15,000 words
    assert asyncio.run(_ask(batcher, texts)) == {text: len(text) for text in texts}
    sizes = [sum(map(words, one)) for one in call.calls]
    assert sizes[0] == 399  # before anything is measured: 20,000 words a second, 0.02 seconds, whole texts
    assert max(sizes) <= 1000
    assert min(sizes[:-1]) >= 87


def test_a_text_larger_than_a_batch_is_scored_alone(executor: ThreadPoolExecutor) -> None:
    call = Lengths()
    batcher: Batcher[int] = Batcher(call, executor, batch_words=3, queue_words=10)
    long = "w " * 50
    assert asyncio.run(_ask(batcher, ["a", long, "b"])) == {"a": 1, long: 100, "b": 1}
    assert [long] in call.calls


def test_full_queue_is_busy_and_says_when_to_return(executor: ThreadPoolExecutor) -> None:
    call = Lengths()
    batcher: Batcher[int] = Batcher(call, executor, batch_words=1000, queue_words=10)

    async def run() -> BusyError:
        call.gate.clear()
        first = asyncio.create_task(_ask(batcher, ["first"]))
        await until(lambda: len(call.calls) == 1)
        waiting = asyncio.create_task(_ask(batcher, ["a b c d e"]))  # 6 words
        await asyncio.sleep(0)
        with pytest.raises(BusyError) as caught:
            await batcher(["f g h i j"])
        call.gate.set()
        assert (await first, await waiting) == ({"first": 5}, {"a b c d e": 9})
        assert await _ask(batcher, ["f g h i j"]) == {"f g h i j": 9}  # room again
        return caught.value

    assert asyncio.run(run()).retry_after_seconds > 0


def test_a_request_larger_than_the_queue_is_taken_by_an_empty_one(executor: ThreadPoolExecutor) -> None:
    batcher: Batcher[int] = Batcher(Lengths(), executor, batch_words=5, queue_words=5)
    texts = [f"{n} x" for n in range(30)]
    assert asyncio.run(_ask(batcher, texts)) == {text: len(text) for text in texts}


def test_cancelled_request_is_not_scored(executor: ThreadPoolExecutor) -> None:
    call = Lengths()
    batcher: Batcher[int] = Batcher(call, executor, batch_words=1000, queue_words=1000)

    async def run() -> None:
        call.gate.clear()
        first = asyncio.create_task(_ask(batcher, ["first"]))
        await until(lambda: len(call.calls) == 1)
        left = asyncio.create_task(_ask(batcher, ["gone"]))
        stays = asyncio.create_task(_ask(batcher, ["stays"]))
        await asyncio.sleep(0.01)
        left.cancel()
        await asyncio.sleep(0.01)
        assert batcher.waiting_words == words("stays")
        call.gate.set()
        await first
        assert await stays == {"stays": 5}
        assert left.cancelled()

    asyncio.run(run())
    assert call.calls == [["first"], ["stays"]]


def test_a_request_cancelled_while_it_is_scored_harms_nobody(executor: ThreadPoolExecutor) -> None:
    call = Lengths()
    batcher: Batcher[int] = Batcher(call, executor, batch_words=1000, queue_words=1000)

    async def run() -> dict[str, int]:
        call.gate.clear()
        both = [
            asyncio.create_task(_ask(batcher, ["gone", "both"])),
            asyncio.create_task(_ask(batcher, ["both"])),
        ]
        await until(lambda: len(call.calls) == 1)
        both[0].cancel()
        call.gate.set()
        return await both[1]

    assert asyncio.run(run()) == {"both": 4}


@pytest.mark.parametrize(("text", "error"), [("crash", ScoringFailedError), ("too long", LimitError)])
def test_a_failing_text_fails_its_own_request_only(
    executor: ThreadPoolExecutor, text: str, error: type[Exception]
) -> None:
    call = Lengths()
    batcher: Batcher[int] = Batcher(call, executor, batch_words=1000, queue_words=1000)

    async def run() -> list[dict[str, int] | BaseException]:
        call.gate.clear()
        first = asyncio.create_task(_ask(batcher, ["first"]))
        await until(lambda: len(call.calls) == 1)
        tasks: list[Awaitable[dict[str, int]]] = [
            asyncio.create_task(_ask(batcher, texts)) for texts in (["a"], [text, "b"], ["a", "c"])
        ]
        await asyncio.sleep(0.01)
        call.gate.set()
        await first
        return list(await asyncio.gather(*tasks, return_exceptions=True))

    one, failed, three = asyncio.run(run())
    assert (one, three) == ({"a": 1}, {"a": 1, "c": 1})
    assert isinstance(failed, error)
    assert asyncio.run(_ask(batcher, ["after"])) == {"after": 5}


def test_a_call_that_answers_too_little_is_a_failure(executor: ThreadPoolExecutor) -> None:
    batcher: Batcher[int] = Batcher(lambda texts: [1], executor, batch_words=100, queue_words=100)
    with pytest.raises(ScoringFailedError):
        asyncio.run(_ask(batcher, ["a", "b"]))


@given(st.lists(st.integers(0, 50), max_size=8), st.integers(0, 120))
def test_fair_shares_are_max_min_fair(waiting: list[int], room: int) -> None:
    shares = fair_shares(waiting, room)
    assert all(0 <= share <= wait for share, wait in zip(shares, waiting, strict=True))
    assert sum(shares) == min(sum(waiting), room)
    hungry = [share for share, wait in zip(shares, waiting, strict=True) if share < wait]
    if hungry:  # nobody has more than one word above someone who wanted more
        assert max(shares) <= min(hungry) + 1


def test_waiting_time_is_measured(executor: ThreadPoolExecutor) -> None:
    call = Lengths()
    batcher: Batcher[int] = Batcher(call, executor, batch_words=1000, queue_words=1000)

    async def run() -> tuple[float, float]:
        call.gate.clear()
        task = asyncio.create_task(batcher(["text"]))
        await until(lambda: len(call.calls) == 1)
        await asyncio.sleep(0.05)
        call.gate.set()
        answers = await task
        return answers.queue_seconds, answers.compute_seconds

    queue_seconds, compute_seconds = asyncio.run(run())
    assert queue_seconds < compute_seconds
    assert compute_seconds >= 0.05
