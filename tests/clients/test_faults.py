"""Both clients against a server that misbehaves: refusals, cuts, strangers; and how long they go on."""

import gzip
import json
import random
import time
from contextlib import suppress
from email.utils import formatdate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbest_client import (
    BusyError,
    Client,
    ConnectionFailedError,
    ForbiddenError,
    Hypothesis,
    NbestList,
    NotFoundError,
    Ranking,
    Retry,
    ServiceFaultError,
    TruncatedError,
    UnexpectedAnswerError,
    calls,
    reading,
)
from nbest_client.errors import Problem, problem_error
from nbest_client.reading import Reply
from nbest_client.retries import Attempts

ONCE = Retry(total_seconds=0)
LIST = {"id": "u", "hypotheses": [{"text": "a"}]}
RESULT = {"id": "u", "changed": False, "warnings": [], "weights": {"lm": 1.0}, "ranking": [
    {"rank": 1, "index": 0, "text": "a\u2028b", "score": -1.5, "features": {"lm": -1.5}}]}  # fmt: skip
USAGE = {
    "hypotheses": 1,
    "tokens": 2,
    "unique_tokens": 2,
    "oov_count": 0,
    "queue_seconds": 0,
    "compute_seconds": 0,
}
FRAME = {"request_id": "r", "signature": "nbest:0", "usage": USAGE}
WHOLE = {**FRAME, "results": [RESULT]}
DONE = {"done": True, "ok": 1, "failed": 0, **FRAME}


def answer(status: int, body: Any, kind: str = "application/json", **headers: str) -> bytes:
    content = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
    said = {"Content-Type": kind, "Content-Length": str(len(content)), "Connection": "close", **headers}
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in said.items())
    return f"HTTP/1.1 {status} Said\r\n{head}\r\n".encode() + content


def problem(status: int, slug: str, **headers: str) -> bytes:
    document = {"type": slug, "title": "T", "status": status, "detail": "D", "expected": "E", "got": "G"}
    return answer(status, document, "application/problem+json", **headers)


def lines(*content: Any) -> bytes:
    return "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in content).encode()


GOOD = answer(200, WHOLE)
GOOD_LINES = answer(200, lines(RESULT, DONE), "application/x-ndjson")


# What is tried again


@pytest.mark.parametrize(
    "bad",
    [
        problem(429, "busy", Retry_After="0"),
        problem(503, "not-ready", Retry_After="0"),
        answer(502, b"<html>bad gateway", "text/html"),
        answer(504, b"", "text/plain"),
        b"",  # hung up at once
        GOOD[:-40],  # cut in mid-body
        GOOD[:30],  # cut in mid-head
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\n"
        b'5\r\n{"a":\r\n',
        answer(200, gzip.compress(b"x" * 99)[:-9] + b"garbage??", Content_Encoding="gzip"),
    ],
    ids=["429", "503", "502", "504", "hung up", "mid-body", "mid-head", "mid-chunks", "bad gzip"],
)
def test_it_is_tried_again(call: Any, fake: Any, bad: bytes) -> None:
    server = fake(bad, bad, GOOD)
    found = call(server.url, "rescore", [LIST], key="secret")
    assert found.results[0].best.text == "a\u2028b"
    assert len(server.requests) == 3
    first, *others = (one.replace(server.url.encode(), b"") for one in server.requests)
    assert all(other == first for other in others)
    assert b"authorization: bearer secret" in first.lower()


def test_retry_after_is_honoured(call: Any, fake: Any) -> None:
    server = fake(problem(429, "busy", Retry_After="1"), GOOD)
    begun = time.monotonic()
    call(server.url, "rescore", [LIST])
    assert 1.0 <= time.monotonic() - begun < 5


def test_a_wait_beyond_the_total_is_not_begun(call: Any, fake: Any) -> None:
    server = fake(problem(429, "busy", Retry_After="3600"), GOOD)
    begun = time.monotonic()
    with pytest.raises(BusyError) as caught:
        call(server.url, "rescore", [LIST], retry=Retry(total_seconds=5))
    assert time.monotonic() - begun < 3
    error = caught.value
    assert error.retry_after_seconds == 3600.0
    assert (error.type, error.title, error.detail, error.expected, error.got) == ("busy", "T", "D", "E", "G")
    assert len(server.requests) == 1


def test_it_gives_up_in_the_end_and_says_so(call: Any, fake: Any) -> None:
    server = fake(*[problem(503, "not-ready")] * 200)
    with pytest.raises(BusyError) as caught:
        call(server.url, "rescore", [LIST], retry=Retry(total_seconds=0.5, first_seconds=0.05))
    assert len(server.requests) > 1
    assert f"after {len(server.requests)} attempts" in caught.value.__notes__[0]


def test_once_is_once(call: Any, fake: Any) -> None:
    server = fake(problem(503, "not-ready"), GOOD)
    with pytest.raises(BusyError):
        call(server.url, "rescore", [LIST], retry=ONCE)
    assert len(server.requests) == 1


def test_nobody_listens(call: Any) -> None:
    with pytest.raises(ConnectionFailedError, match=r"127\.0\.0\.1:1/v1/models"):
        call("http://127.0.0.1:1", "models", retry=Retry(total_seconds=0.3))


@pytest.mark.parametrize("piece", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"])
def test_silence_counts_as_lost(call: Any, dripping: Any, piece: bytes) -> None:
    begun = time.monotonic()
    with pytest.raises(ConnectionFailedError, match="ReadTimeout"):
        call(dripping(piece, b""), "rescore", [LIST], retry=ONCE, timeout_seconds=0.3)
    assert time.monotonic() - begun < 5


def test_an_answer_that_drips_for_ever_ends_with_the_total(call: Any, dripping: Any) -> None:
    begun = time.monotonic()
    with pytest.raises(ConnectionFailedError, match=r"no whole answer within 0\.6 seconds"):
        url = dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", b"x")
        call(url, "rescore", [LIST], deadline_seconds=None, retry=Retry(total_seconds=0.6))
    assert time.monotonic() - begun < 5


def test_a_lost_delete_is_not_sent_twice(call: Any, fake: Any) -> None:
    server = fake(b"", answer(204, b""))
    with pytest.raises(ConnectionFailedError):
        call(server.url, "delete_weights", "mt", if_match="*")
    assert len(server.requests) == 1
    server = fake(answer(502, b"", "text/html"), answer(204, b""))
    with pytest.raises(BusyError):
        call(server.url, "delete_weights", "mt", if_match="*")
    server = fake(problem(503, "not-ready"), b"HTTP/1.1 204 No Content\r\n\r\n")
    assert call(server.url, "delete_weights", "mt", if_match="*") is None  # it was refused, not lost
    assert b"if-match: *" in server.requests[0].lower()


def test_a_lost_put_is_sent_again_with_what_was_seen(call: Any, fake: Any) -> None:
    written = {"request_id": "r", "name": "mt", "version": 2, "etag": '"x"', "changed": False}
    server = fake(b"", answer(200, written))
    assert call(server.url, "put_weights", "mt", {"features": {}}, if_match='"seen"').version == 2
    assert all(b'if-match: "seen"' in one.lower() for one in server.requests)


# What is not


@pytest.mark.parametrize(
    ("bad", "kind"),
    [
        (problem(404, "not-found"), NotFoundError),
        (problem(403, "forbidden"), ForbiddenError),
        (problem(500, "internal-error"), ServiceFaultError),
        (answer(500, b"oops", "text/plain"), ServiceFaultError),
        (answer(418, b"[1]", "application/problem+json"), None),
        (answer(200, b"<html>welcome", "text/html"), UnexpectedAnswerError),
        (answer(200, b"{", "application/json"), UnexpectedAnswerError),
        (answer(200, b"[]", "application/json"), UnexpectedAnswerError),
        (answer(200, {}, "application/json"), UnexpectedAnswerError),
        (answer(200, {**WHOLE, "results": [1]}), UnexpectedAnswerError),
        (answer(200, {**WHOLE, "results": [{"id": "u"}]}), UnexpectedAnswerError),
        (answer(200, {**WHOLE, "usage": {}}), UnexpectedAnswerError),
        (answer(302, b"", Location="http://elsewhere/"), UnexpectedAnswerError),
    ],
)
def test_it_is_not_tried_again(call: Any, fake: Any, bad: bytes, kind: Any) -> None:
    server = fake(bad, GOOD)
    with pytest.raises(kind or Exception) as caught:
        call(server.url, "rescore", [LIST])
    assert isinstance(caught.value, calls.reading.ProblemError | UnexpectedAnswerError)
    assert len(server.requests) == 1
    assert str(caught.value)


# Lines


def test_lines_that_are_whole(call: Any, fake: Any) -> None:
    server = fake(GOOD_LINES)
    (found,) = call(server.url, "rescore_stream", [LIST])
    assert isinstance(found, Ranking)
    assert found.best.text == "a\u2028b"
    assert b"accept: application/x-ndjson" in server.requests[0].lower()


@pytest.mark.parametrize(
    "content",
    [b"", lines(RESULT), lines(RESULT, DONE)[:-1], lines(RESULT, DONE)[:-30], lines(RESULT)[:-5]],
)
def test_truncated_lines_are_asked_for_again(call: Any, fake: Any, content: bytes) -> None:
    """They end cleanly, as a proxy makes them end: only the last line tells."""
    bad = answer(200, content, "application/x-ndjson")
    server = fake(bad, GOOD_LINES)
    assert len(call(server.url, "rescore_stream", [LIST])) == 1
    assert len(server.requests) == 2
    server = fake(bad)
    with pytest.raises(TruncatedError):
        call(server.url, "rescore_stream", [LIST], retry=ONCE)


@pytest.mark.parametrize(
    "content",
    [lines(DONE), lines(RESULT, RESULT, DONE), lines(RESULT, {**DONE, "failed": 1}), b"{}{}\n" + lines(DONE)],
)
def test_lines_of_another_number_are_an_error(call: Any, fake: Any, content: bytes) -> None:
    server = fake(answer(200, content, "application/x-ndjson"))
    with pytest.raises(UnexpectedAnswerError):
        call(server.url, "rescore_stream", [LIST])


def test_json_where_lines_were_asked_for(call: Any, fake: Any) -> None:
    with pytest.raises(UnexpectedAnswerError, match="expected application/x-ndjson"):
        call(fake(GOOD).url, "rescore_stream", [LIST])


def test_a_failed_block_ends_a_stream_after_the_blocks_before_it(fake: Any) -> None:
    """One request at a time, so that the answers meet the right blocks."""
    server = fake(GOOD_LINES, GOOD_LINES, problem(404, "not-found"), GOOD_LINES)
    given, seen = [{**LIST, "id": f"u{k}"} for k in range(5)], []
    with Client(server.url, retry=ONCE) as client:
        with pytest.raises(NotFoundError):
            seen.extend(client.rescore_stream(given, block=1, in_flight=1))
    assert len(seen) == 2


TUNED = {"done": True, "request_id": "r", "weights": {}, "metric": "wer", "larger_is_better": False,
         "before": 2.0, "after": 1.0, "warnings": ["w"]}  # fmt: skip
STEP = {"progress": {"stage": "tuning"}}


def test_a_tuning_tells_how_far_it_is_and_has_all_the_time_it_needs(call: Any, fake: Any) -> None:
    kind = "application/x-ndjson"
    told: list[Any] = []
    server = fake(answer(200, lines(STEP), kind), answer(200, lines(STEP, TUNED), kind))
    found = call(server.url, "tune", [], progress=told.append)
    assert (found.after, found.warnings, told) == (1.0, ("w",), [{"stage": "tuning"}] * 2)
    failed = {"done": False, "request_id": "r", "error": {"type": "internal-error", "detail": "D"}}
    with pytest.raises(ServiceFaultError, match="D"):
        call(fake(answer(200, lines(STEP, failed), kind)).url, "tune", [])
    attempts = Attempts(calls.tune([], {}, None, None), Retry(total_seconds=1), 60.0, began=1000.0)
    assert attempts.timeout(2000.0) == 60.0
    assert not attempts.is_late(2000.0)


# The decision itself


def busy(status: int = 429, after: float | None = None) -> BusyError:
    error = problem_error(Problem("busy", "T", status, "D", retry_after_seconds=after))
    assert isinstance(error, BusyError)
    return error


@given(
    failures=st.integers(1, 10_000),
    after=st.none() | st.floats(0, 1000),
    left=st.floats(-10, 2000),
    chance=st.floats(0, 1, exclude_max=True),
)
def test_waits_are_bounded_and_never_before_the_service_wants_it(
    failures: int, after: float | None, left: float, chance: float
) -> None:
    policy = Retry(total_seconds=100, first_seconds=0.25, most_seconds=15)
    wait = policy.wait_seconds(busy(after=after), failures, left, chance)
    if wait is None:
        assert left <= (after or 0) + 15
        return
    assert wait < left
    assert wait <= (after or 0) + 15
    assert wait >= (after if after is not None else min(15, 0.25 * 2 ** min(failures - 1, 10)) / 2)


def test_waits_grow_to_their_bound() -> None:
    policy = Retry(first_seconds=0.25, most_seconds=2)
    assert [policy.wait_seconds(busy(), k, 1e9, 0.5) for k in range(1, 7)] == [
        0.75 * step for step in (0.25, 0.5, 1, 2, 2, 2)
    ]


def test_the_attempts_of_a_call_end_with_its_deadline() -> None:
    call = calls.rescore([LIST], {"deadline_seconds": 10.0})
    attempts = Attempts(call, Retry(total_seconds=300), 60.0, began=1000.0)
    assert attempts.timeout(1000.0) == 10.0
    assert attempts.timeout(1004.0) == 6.0
    assert not attempts.is_late(1009.9)
    assert attempts.is_late(1010.1)
    assert attempts.failed(busy(), 1004.0, random.random()) < 1
    with pytest.raises(BusyError):
        attempts.failed(busy(), 1010.0, 0.0)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("7", 7.0),
        (" 7 ", 7.0),
        (formatdate(1030, usegmt=True), 30.0),
        (formatdate(10, usegmt=True), 0.0),
        ("soon", None),
        ("-1", None),
        ("", None),
        ("٧", None),
    ],
)
def test_retry_after_is_a_number_or_a_date(header: str | None, seconds: float | None) -> None:
    assert reading.retry_after(header, now=1000.0) == seconds


@given(st.lists(st.integers(0, 30), max_size=40), st.integers(1, 40))
def test_blocks_are_all_lists_in_order_within_bounds(sizes: list[int], most: int) -> None:
    given_lists = [{"id": str(k), "hypotheses": [{}] * size} for k, size in enumerate(sizes)]
    found = list(calls.blocks(given_lists, most))
    assert [one for block in found for one in block] == given_lists
    for block in found:
        assert block
        assert len(block) == 1 or sum(map(calls.hypotheses_of, block)) <= most


@given(st.binary(max_size=300), st.sampled_from(["application/json", "application/x-ndjson", "text/plain"]))
def test_any_bytes_are_read_or_refused(body: bytes, kind: str) -> None:
    """No other exception than ours comes out, whatever came in."""
    reply = Reply(200, {"content-type": kind}, body)
    for call in (calls.rescore([LIST], {}), calls.rescore([LIST], {}, lines=True), calls.models(),
                 calls.score("m", ["a"], False, None), calls.get_weights("x")):  # fmt: skip
        with pytest.raises((UnexpectedAnswerError, TruncatedError)):
            call.read(reply)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(sorted(WHOLE)), JSON_VALUES)
def test_any_value_in_place_of_another_is_read_or_refused(name: str, value: Any) -> None:
    body = json.dumps({**WHOLE, name: value}).encode()
    with suppress(UnexpectedAnswerError):
        calls.rescore([LIST], {}).read(Reply(200, {"content-type": "application/json"}, body))


def test_bodies_are_what_the_api_says() -> None:
    call = calls.rescore(
        [LIST], {"models": ("m",), "top_k": 3, "weights": "asr", "unknown_feature": "ignore"}
    )
    assert json.loads(call.body or b"") == {
        "models": ["m"],
        "weights": "asr",
        "options": {"top_k": 3, "unknown_feature": "ignore"},
        "lists": [LIST],
    }
    spoken = NbestList("u", [Hypothesis("a", {"tm": (1.0, 2.0)})], context=("before",))
    assert json.loads(calls.rescore([spoken], {}).body or b"")["lists"] == [
        {"id": "u", "hypotheses": [{"text": "a", "features": {"tm": [1.0, 2.0]}}], "context": ["before"]}
    ]
    small, large = calls.models(), calls.rescore([LIST] * 100, {})
    assert calls.packed(small) is small
    packed = calls.packed(large)
    assert gzip.decompress(packed.body or b"") == large.body
    assert packed.headers["Content-Encoding"] == "gzip"
