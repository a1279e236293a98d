"""A model of a service as a scorer: what it gives, and what it says of servers that misbehave."""

import json
import math
import time
from typing import Any

import pytest

from nbest.errors import (
    BusyError,
    ConfigError,
    FormatError,
    InputError,
    LimitError,
    NbestError,
    NotFoundError,
)
from service import remote
from service.remote import RemoteScorer, Server
from tests.service.conftest import unigram
from tests.serving import dripping, fake, service, start

__all__ = ["dripping", "fake", "service", "start"]  # fixtures
DIGEST = "sha256:" + "0" * 64
TEXTS = ["a man is riding", "", "zebra crossing", "ein\u2028Wort"]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "_FIRST_WAIT", 0.001)
    monkeypatch.setattr(remote, "_LONGEST_WAIT", 0.01)
    monkeypatch.setattr(remote, "_FIRST_CONTACT_SECONDS", 0.5)
    monkeypatch.setattr(remote, "_TOTAL_SECONDS", 5.0)


def reply(status: int, body: Any, *headers: str, kind: str = "application/json") -> bytes:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} Said", f"Content-Type: {kind}", f"Content-Length: {len(content)}", *headers]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode() + content


def scores(count: int, digest: str = DIGEST) -> bytes:
    one = {"nat_log_prob": -1.5, "token_count": 2, "oov_count": 1}
    return reply(200, {"signature": f"nbest:0.1.0|small:{digest}", "scores": [one] * count})


FIRST = scores(1)  # to the question at the beginning


def problem(status: int, **more: Any) -> bytes:
    after = (f"Retry-After: {more.pop('after')}",) if "after" in more else ()
    return reply(status, {"type": "t", "detail": "words", **more}, *after, kind="application/problem+json")


def test_scores_are_the_models(service: Any) -> None:
    scorer = RemoteScorer(Server(service.url), "small")
    assert (scorer.name, scorer.digest) == ("small", DIGEST)
    found = scorer.score(TEXTS)
    assert found.nat_log_probs.tolist() == [
        math.fsum(t.nat_log_prob for t in unigram(text)) for text in TEXTS
    ]
    assert found.token_counts.tolist() == [len(unigram(text)) for text in TEXTS]
    assert found.oov_counts.tolist() == [sum(t.is_oov for t in unigram(text)) for text in TEXTS]
    assert [[tuple(t) for t in one] for one in scorer.score_tokens(TEXTS)] == [
        [tuple(t) for t in unigram(text)] for text in TEXTS
    ]
    assert len(scorer.score([]).nat_log_probs) == 0
    scorer.close()


def test_what_is_too_much_at_a_time_goes_in_halves(start: Any) -> None:
    scorer = RemoteScorer(Server(start(max_hypotheses=3, max_text_bytes=50).url), "small")
    texts = [f"a {k}" for k in range(10)]
    assert scorer.score(texts).nat_log_probs.shape == (10,)
    assert [len(one) for one in scorer.score_tokens(texts)] == [3] * 10
    with pytest.raises(LimitError, match="too long"):
        scorer.score([*texts, "a" * 60])
    scorer.close()


def test_an_unknown_model_is_told_with_the_known_ones(service: Any) -> None:
    with pytest.raises(
        NotFoundError, match=r"no such model; expected one of broken, local, small; got nosuch"
    ):
        RemoteScorer(Server(service.url), "nosuch")


@pytest.mark.parametrize(
    "bad",
    [
        problem(429, after=0),
        problem(503, after=0),
        reply(502, b"<html>", kind="text/html"),
        b"",
        scores(2)[:-20],
        b"HTTP/1.1 200",
    ],
    ids=["429", "503", "502", "hung up", "mid-body", "mid-head"],
)
def test_it_is_tried_again(fake: Any, bad: bytes) -> None:
    server = fake(bad, FIRST, bad, bad, scores(2))
    scorer = RemoteScorer(Server(server.url, "secret"), "small")
    assert scorer.score(["a", "b"]).nat_log_probs.tolist() == [-1.5, -1.5]
    assert len(server.requests) == 5
    assert server.requests[2] == server.requests[4]
    assert b"Authorization: Bearer secret" in server.requests[0]
    scorer.close()


def test_retry_after_is_honoured(fake: Any) -> None:
    server = fake(FIRST, problem(429, after=1), scores(1))
    scorer = RemoteScorer(Server(server.url), "small")
    begun = time.monotonic()
    scorer.score(["a"])
    assert time.monotonic() - begun >= 1.0
    scorer.close()


def test_it_gives_up_in_the_end(fake: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    server = fake(FIRST, problem(503, after=3600))
    scorer = RemoteScorer(Server(server.url), "small")
    with pytest.raises(BusyError, match="the server answers 503: words"):
        scorer.score(["a"])
    with pytest.raises(BusyError, match=r"http://127\.0\.0\.1:1: the server cannot be reached: .*refused"):
        RemoteScorer(Server("http://127.0.0.1:1"), "small")


def test_silence_is_a_lost_connection(dripping: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "_SILENCE_SECONDS", 0.2)
    with pytest.raises(BusyError, match="cannot be reached: timed out"):
        RemoteScorer(Server(dripping(b"", b"")), "small")


@pytest.mark.parametrize(
    ("bad", "kind", "words"),
    [
        (
            problem(400, pointer="/texts/1", expected="one line", got="two"),
            FormatError,
            "/texts/1: words; exp",
        ),
        (problem(401), ConfigError, "words"),
        (problem(403), ConfigError, "words"),
        (problem(422), FormatError, "words"),
        (problem(500), NbestError, "got 500 words"),
        (reply(404, b"<html>no", kind="text/html"), NbestError, "not the answer of an nbest service"),
        (reply(302, b""), NbestError, "got 302"),
        (reply(200, b"<html>", kind="text/html"), NbestError, "text/html"),
        (reply(200, {"scores": []}), NbestError, "without a score for each text"),
        (scores(3), NbestError, "without a score for each text"),
        (scores(2).replace(b"small:", b"other:"), NbestError, "a signature without the model"),
        (scores(2).replace(b"-1.5", b'"no"'), NbestError, "without numbers"),
        (scores(2, "sha256:new"), ConfigError, "the server has another model small now"),
    ],
)
def test_what_is_no_use_to_try_again(fake: Any, bad: bytes, kind: type[NbestError], words: str) -> None:
    if b'"no"' in bad:
        bad = reply(200, bad.partition(b"\r\n\r\n")[2])  # of its new length
    server = fake(FIRST, bad)
    scorer = RemoteScorer(Server(server.url), "small")
    with pytest.raises(kind, match=words) as caught:
        scorer.score(["a", "b"])
    assert isinstance(caught.value, InputError) == issubclass(kind, InputError)
    assert len(server.requests) == 2
    assert server.url in str(caught.value) or "without numbers" in words
    scorer.close()


def test_another_process_must_find_the_same_model(service: Any) -> None:
    RemoteScorer(Server(service.url), "small", DIGEST).close()
    with pytest.raises(ConfigError, match="expected sha256:old"):
        RemoteScorer(Server(service.url), "small", "sha256:old")


@pytest.mark.parametrize(
    "url", ["", "host:8000", "ftp://h", "http://", "http://u:p@h", "http://h?q", "http://h:x", "http://h h"]
)
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(ConfigError, match="not the address of a service"):
        Server(url)


def test_a_key_is_shown_nowhere() -> None:
    assert "secret" not in repr(Server("http://h", "secret"))
    with pytest.raises(ConfigError) as caught:
        Server("http://h", "sec\nret")
    assert "ret" not in str(caught.value).replace("characters", "")
