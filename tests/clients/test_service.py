"""Both clients against the real service: every method, every kind of error."""

import asyncio
import math
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

import nbest_client
from nbest_client import (
    AsyncClient,
    Client,
    ConflictError,
    FailedList,
    ForbiddenError,
    Hypothesis,
    InvalidRequestError,
    LimitError,
    NbestList,
    NotFoundError,
    Ranking,
    UnauthorizedError,
)
from service.cli.main import nbest
from tests.clients.conftest import QUICK
from tests.service.conftest import unigram

WEIGHTS = {"features": {"ac": 1.0, "small": 1.0}}
WEIGHT_SET = {"format": "nbest-weights/1", "features": {"ac": 1.0, "small": 2.0}}
SPEECH = NbestList(
    "u",
    [
        Hypothesis("a man is writing", {"ac": -10.0}),
        Hypothesis("a man is riding", {"ac": -11.0}),
        Hypothesis("man is riding", {"ac": -11.5}),
    ],
)


def many(count: int, hypotheses: int = 3) -> Iterator[dict[str, Any]]:
    for k in range(count):
        each = [
            {"text": f"a man\u2028{j}", "features": {"ac": -float((j * 7 + k) % 5)}}
            for j in range(hypotheses)
        ]
        yield {"id": f"u{k}", "hypotheses": each}


@pytest.mark.parametrize("compress", [False, True])
def test_rescore(call: Any, service: Any, compress: bool) -> None:
    found = call(
        service.url, "rescore", [SPEECH], models=["small"], weights=WEIGHTS, contributions=True, tokens=True,
        compress=compress,
    )  # fmt: skip
    (result,) = found.results
    assert isinstance(result, Ranking)
    assert [(one.rank, one.index, one.score) for one in result.ranking] == [
        (1, 2, -11.5 - 7.0),
        (2, 1, -11.0 - 8.0),
        (3, 0, -10.0 - 10.0),
    ]
    assert (result.id, result.changed, result.best.text) == ("u", True, "man is riding")
    assert result.best.features == {"ac": -11.5, "small": -7.0, "small.oov": 0.0, "word_count": 3.0}
    assert result.best.contributions is not None
    assert math.fsum(result.best.contributions.values()) == result.best.score
    assert result.best.tokens is not None
    assert [one.token for one in result.best.tokens["small"]] == ["man", "is", "riding", "</s>"]
    assert result.signature == found.signature
    assert "small:sha256:" in found.signature
    assert (found.usage.hypotheses, found.usage.unique_tokens) == (3, 14)
    assert found.request_id


def test_lists_with_errors_are_values(call: Any, service: Any) -> None:
    bad = NbestList("bad", [Hypothesis("a", {"ac": math.nan})])
    vector = NbestList("v", [Hypothesis("a", {"tm": (-1.0, -2.0)})])
    lone = {"id": "x", "hypotheses": [{"text": "\ud800", "features": {"ac": 1.0}}]}
    answer = call(service.url, "rescore", [SPEECH, bad, lone, {"no": 1}], models=["small"], weights=WEIGHTS)
    kinds = [type(one) for one in answer.results]
    assert kinds == [Ranking, FailedList, FailedList, FailedList]
    assert answer.results[1].error.type == "non-finite-feature"
    assert answer.results[1].error.pointer == "/lists/1/hypotheses/0/features/ac"
    assert answer.results[3].id is None
    (wide,) = call(service.url, "rescore", [vector], weights={"features": {"tm": [1.0, 0.5]}}).results
    assert wide.best.features["tm"] == (-1.0, -2.0)


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize(("block", "in_flight"), [(1, 1), (30, 4), (10_000, 3)])
def test_a_stream_gives_what_one_request_gives(
    call: Any, service: Any, block: int, in_flight: int, compress: bool
) -> None:
    lists: list[Any] = list(many(60))
    lists[17] = {"id": "u17", "hypotheses": []}
    options: dict[str, Any] = {"models": ["small"], "weights": WEIGHTS, "top_k": 2, "compress": compress}
    whole = call(service.url, "rescore", lists, **options).results
    streamed = call(service.url, "rescore_stream", iter(lists), block=block, in_flight=in_flight, **options)
    assert [one.id for one in streamed] == [f"u{k}" for k in range(60)]
    for one, other in zip(whole, streamed, strict=True):
        if isinstance(one, FailedList):
            assert isinstance(other, FailedList)
            assert (one.id, one.error.detail) == (
                other.id,
                other.error.detail,
            )  # its pointer is into the block
        else:
            assert one == other


def test_a_stream_of_nothing(call: Any, service: Any) -> None:
    assert call(service.url, "rescore_stream", [], models=["small"]) == []


def test_a_stream_reads_ahead_no_more_than_is_in_flight(service: Any) -> None:
    read = 0

    def counted() -> Iterator[dict[str, Any]]:
        nonlocal read
        for one in many(1000):
            read += 1
            yield one

    with Client(service.url, retry=QUICK) as client:
        results = client.rescore_stream(counted(), block=6, in_flight=3, models=["small"])
        for _ in range(5):
            next(results)
        # Two lists a block: three blocks under way, one given, and a list that is not in a block yet.
        assert read <= 2 * (3 + 3) + 1
        results.close()  # type: ignore[attr-defined]
        assert read < 20
    assert not [one.name for one in threading.enumerate() if one.name.startswith("nbest-client")]


def test_a_stream_of_an_asynchronous_iterator(service: Any) -> None:
    async def lists() -> AsyncIterator[dict[str, Any]]:
        for one in many(20):
            await asyncio.sleep(0)
            yield one

    async def main() -> list[str | None]:
        async with AsyncClient(service.url) as client:
            stream = client.rescore_stream(lists(), block=7, models=["small"])
            first = [(await anext(stream)).id for _ in range(3)]  # and the rest is given up
            await stream.aclose()  # type: ignore[attr-defined]
            assert len(asyncio.all_tasks()) == 1
            return first + [one.id async for one in client.rescore_stream(lists(), block=7, models=["small"])]

    assert asyncio.run(main()) == ["u0", "u1", "u2", *(f"u{k}" for k in range(20))]


def test_a_block_that_is_too_large_is_halved(call: Any, start: Any) -> None:
    service = start(max_hypotheses=10, max_lists=4)
    lists = [*many(7), next(many(1, 11)) | {"id": "much"}, {"id": "last", "hypotheses": [{"text": "a"}]}]
    found = call(service.url, "rescore_stream", lists, block=1000, models=["small"])
    assert [one.id for one in found] == [*(f"u{k}" for k in range(7)), "much", "last"]
    assert isinstance(found[7], FailedList)
    assert found[7].error.type == "limit-exceeded"
    assert isinstance(found[8], FailedList) is False
    with pytest.raises(LimitError, match="too many lists"):
        call(service.url, "rescore", lists, models=["small"])


def test_an_error_of_the_whole_comes_in_its_turn(call: Any, service: Any) -> None:
    with pytest.raises(NotFoundError) as caught:
        call(service.url, "rescore_stream", many(10), block=3, models=["nosuch"])
    assert caught.value.type == "not-found"
    assert caught.value.got == "nosuch"
    assert "small" in str(caught.value.expected)


def test_rescore_text(call: Any, service: Any) -> None:
    moses = "0 ||| a man is writing ||| LM0= -3 ||| -5.5\n0 ||| a man is riding ||| LM0= -4 ||| -5.75\n"
    found = call(service.url, "rescore_text", moses, models=["small"], top_k=1)
    assert found.text.startswith("0 ||| a man is riding ||| LM0= -4 ")
    assert found.text.count("\n") == 1
    assert "small:sha256" in found.signature
    assert "untuned" in str(found.warnings)
    assert (
        call(service.url, "rescore_text", moses.encode(), models=["small"], compress=True).text.count("\n")
        == 2
    )


def test_score(call: Any, service: Any) -> None:
    texts = ["a man is riding", "", "zebra"]
    found = call(service.url, "score", "small", texts, tokens=True)
    assert [one.nat_log_prob for one in found.scores] == [
        math.fsum(token.nat_log_prob for token in unigram(text)) for text in texts
    ]
    assert [one.oov_count for one in found.scores] == [0, 0, 1]
    assert [token.oov for token in found.scores[2].tokens] == [True, False]
    assert found.total_nat_log_prob == math.fsum(one.nat_log_prob for one in found.scores)
    assert found.perplexity == math.exp(-found.total_nat_log_prob / 8)
    assert call(service.url, "score", "small", texts).scores[0].tokens is None


def test_evaluate(call: Any, service: Any) -> None:
    found = call(service.url, "evaluate", "wer", ["a man rides", "b"], ["a man is riding", ["b"]])
    assert (found.score, found.larger_is_better, found.segments) == (40.0, False, 2)
    assert found.interval[0] <= found.score <= found.interval[1]
    assert found.counts
    with pytest.raises(InvalidRequestError) as caught:
        call(service.url, "evaluate", "nosuch", ["a"], ["b"])
    assert caught.value.pointer == "/metric"


TUNING = [
    {
        "id": f"u{k}",
        "hypotheses": [
            {"text": "a man is writing", "features": {"ac": -1.0 - k % 3}},
            {"text": "a man is riding", "features": {"ac": -2.0}},
        ],
        "references": ["a man is riding"],
    }
    for k in range(6)
]


def test_tune(call: Any, service: Any) -> None:
    told: list[Any] = []
    settings = {"metric": "wer", "models": ["small"], "restarts": 2}
    found = call(service.url, "tune", TUNING, progress=told.append, name="tuned", **settings)
    assert (found.metric, found.larger_is_better, found.after) == ("wer", False, 0.0)
    assert found.before > 0
    assert set(found.weights["features"]) >= {"ac", "small"}
    assert {one["stage"] for one in told} >= {"scoring", "tuning"}
    assert found.document["saved"]["version"] == 1
    assert any("few" in warning for warning in found.warnings)
    assert call(service.url, "get_weights", "tuned").document["features"] == found.weights["features"]
    answer = call(service.url, "rescore", TUNING, models=["small"], weights=found.weights)
    assert {one.best.text for one in answer.results} == {"a man is riding"}
    with pytest.raises(NotFoundError):
        call(service.url, "tune", TUNING, models=["nosuch"])


def test_convert(call: Any, service: Any) -> None:
    moses = "0 ||| a man ||| LM0= -3 ||| -5.5\n0 ||| man ||| LM0= -4 ||| -5.75\n"
    found = call(service.url, "convert", moses)
    assert found.format == "moses"
    assert [one["text"] for one in found.lists[0]["hypotheses"]] == ["a man", "man"]
    weights = {"features": {"LM0": 1.0, "decoder_total": 0.0}}
    assert call(service.url, "rescore", found.lists, weights=weights).results[0].best.text == "a man"
    with pytest.raises(InvalidRequestError):
        call(service.url, "convert", moses, beam_size=(3, 2))


def test_models(call: Any, service: Any, world: Any) -> None:
    listed = call(service.url, "models")
    assert [one.name for one in listed.models] == ["broken", "local", "small"]
    assert listed.weights == ("asr",)
    assert call(service.url, "model", "small").loaded is False
    loaded = call(service.url, "load", "small")
    assert (loaded.name, loaded.changed, loaded.replaced) == ("small", True, None)
    again = call(service.url, "load", "small")  # the shipped stub has no files that could be the same
    assert (again.changed, again.replaced) == (True, loaded.digest)
    assert call(service.url, "model", "small").digest == loaded.digest
    assert call(service.url, "unload", "small") is None
    assert call(service.url, "model", "small").loaded is False
    with pytest.raises(NotFoundError):
        call(service.url, "model", "../small")
    with pytest.raises(nbest_client.BusyError, match="corrupt or truncated"):
        call(service.url, "load", "broken", retry=nbest_client.Retry(total_seconds=0))


def test_weights(call: Any, service: Any) -> None:
    written = call(service.url, "put_weights", "mt", WEIGHT_SET)
    assert (written.name, written.version, written.changed) == ("mt", 1, True)
    stored = call(service.url, "get_weights", "mt")
    assert (stored.etag, stored.location) == (written.etag, "/v1/weights/mt@1")
    assert stored.document["features"] == WEIGHT_SET["features"]
    other = {**WEIGHT_SET, "features": {"ac": 3.0}}
    with pytest.raises(ConflictError) as caught:
        call(service.url, "put_weights", "mt", other)
    assert caught.value.status == 428
    again = call(service.url, "put_weights", "mt", other, if_match=stored.etag)
    assert again.version == 2
    with pytest.raises(ConflictError) as caught:
        call(service.url, "put_weights", "mt", WEIGHT_SET, if_match=stored.etag)
    assert caught.value.status == 412
    assert call(service.url, "get_weights", "mt@1").document == stored.document
    assert call(service.url, "delete_weights", "mt", if_match="*") is None
    with pytest.raises(NotFoundError):
        call(service.url, "get_weights", "mt")
    for name in ("", ".", ".."):
        with pytest.raises(ValueError, match="not a name"):
            call(service.url, "get_weights", name)


def test_health_and_metrics(call: Any, service: Any) -> None:
    assert call(service.url, "is_alive") is True
    assert call(service.url, "is_ready") is True
    assert "nbest_request_seconds" in call(service.url, "metrics")
    service.app.state.service.readiness.drain()
    assert call(service.url, "is_ready") is False
    assert call("http://127.0.0.1:1", "is_alive") is False


def test_keys(call: Any, start: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from click.testing import CliRunner

    made = CliRunner().invoke(nbest, ["keys", "create", "decoder", "--keys", str(tmp_path / "keys.json")])
    key = made.stdout.strip()
    service = start(keys=tmp_path / "keys.json")
    monkeypatch.delenv("NBEST_KEY", raising=False)
    with pytest.raises(UnauthorizedError) as caught:
        call(service.url, "models")
    assert caught.value.status == 401
    wrong = "nbest-" + "x" * 43
    with pytest.raises(UnauthorizedError) as caught:
        call(service.url, "models", key=wrong)
    assert wrong not in str(caught.value) + repr(caught.value)
    assert call(service.url, "models", key=key).models
    with pytest.raises(ForbiddenError):
        call(service.url, "load", "small", key=key)
    monkeypatch.setenv("NBEST_KEY", key)
    assert call(service.url, "score", "small", ["a"]).scores
    assert call(service.url, "is_alive")


def test_a_problem_is_told_whole(call: Any, service: Any) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        call(service.url, "rescore", [SPEECH], models=["small"], top_k=0)
    error = caught.value
    assert (error.type, error.status, error.pointer) == ("invalid-request", 422, "/options/top_k")
    assert error.expected == "at least 1"
    assert error.title
    assert error.request_id
    assert error.request_id in str(error)
    assert error.detail in str(error)


def test_a_deadline_is_sent_and_kept(call: Any, service: Any, world: Any) -> None:
    call(service.url, "load", "small")
    (scorer,) = world.opened.values()
    scorer.gate.clear()
    try:
        with pytest.raises(nbest_client.NbestClientError) as caught:
            call(service.url, "rescore", [SPEECH], models=["small"], weights=WEIGHTS, deadline_seconds=0.3)
    finally:
        scorer.gate.set()
    assert getattr(caught.value, "type", "no answer") in ("deadline-exceeded", "no answer")
    assert call(service.url, "rescore", [SPEECH], models=["small"], weights=WEIGHTS).results


@pytest.mark.parametrize(
    "url", ["", "localhost:8000", "ftp://host", "http://", "http://u:p@host", "http://h?x=1"]
)
@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_what_is_no_address(kind: Any, url: str) -> None:
    with pytest.raises(ValueError, match="not the address of a service"):
        kind(url)


@pytest.mark.parametrize("key", ["two words", "line\nfeed", "schlüssel"])
def test_what_is_no_key_is_not_told(key: str) -> None:
    with pytest.raises(ValueError, match="the key has characters") as caught:
        Client(key=key)
    assert key not in str(caught.value)


def test_a_client_shows_no_key() -> None:
    with Client("http://host:1/", key="secret") as client:
        assert repr(client) == "Client('http://host:1')"
        assert "secret" not in repr(vars(client)["_retry"]) + str(client)


def test_both_clients_have_the_same_methods() -> None:
    def public(kind: type) -> set[str]:
        return {name for name in vars(kind) if not name.startswith("_")}

    assert public(Client) == public(AsyncClient)


def test_every_route_of_the_service_has_a_method(service: Any) -> None:
    """Found by asking: each documented path and verb is one that a call of the client uses."""
    from nbest_client import calls

    names = {"name": "NAME"}
    made = [
        calls.rescore([], {}), calls.score("m", [], False, None),
        calls.evaluate("wer", [], [], "none", False),
        calls.models(), calls.model("NAME"), calls.load("NAME"), calls.unload("NAME"),
        calls.get_weights("NAME"), calls.put_weights("NAME", {}, None), calls.delete_weights("NAME", "*"),
        calls.tune([], {}, None, None), calls.convert("", None),
        calls.health("/livez"), calls.health("/readyz"), calls.metrics(),
    ]  # fmt: skip
    mine = {(one.method, one.path) for one in made}
    document = service.app.openapi()
    theirs = {
        (verb.upper(), path.format(**names)) for path, verbs in document["paths"].items() for verb in verbs
    }
    assert mine == theirs
