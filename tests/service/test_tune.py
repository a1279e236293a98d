# ruff: noqa: E501 - a table reads better with each case on one line
"""POST /v1/tune: the weights of nbest tune, told line by line, in a process that gives way."""

import asyncio
import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from fastapi.testclient import TestClient

from nbest.errors import LimitError, ReferenceMismatchError
from rescoring.metrics import get_metric
from rescoring.nbest import Feature, NbestLists
from rescoring.significance import paired_test
from rescoring.tuning.constraints import Constraints
from rescoring.weights import parse_weights
from service.cli.main import nbest
from service.keys import new_key, write_keys
from service.optimizers import Grid, Settings
from service.tuning import Plan
from service.tuning_process import MOST, TuningFailedError, Tunings
from service.tuning_worker import NICE, HeldOut, Result, Task, work
from tests.service.conftest import FakeScorer, World

WORDS = "a man is riding writing horse dog the his saw seen often".split()


def made(count: int, size: int = 6, features: int = 3, seed: int = 5) -> list[dict[str, Any]]:
    """Lists whose references are near one of their hypotheses; features that know a little of which."""
    random = np.random.default_rng(seed)
    lists = []
    for number in range(count):
        reference = random.choice(WORDS, size=random.integers(4, 9)).tolist()
        hypotheses = []
        for _ in range(size):
            words = [random.choice(WORDS) if random.random() < 0.3 else word for word in reference]
            errors = sum(one != other for one, other in zip(words, reference, strict=True))
            values = random.normal(size=features) * 2 - errors * np.linspace(0.2, 1.0, features)
            named = {f"f{k}": round(float(value), 3) for k, value in enumerate(values)}
            hypotheses.append({"text": " ".join(words), "features": {"ac": -10.0 - errors, **named}})
        lists.append({"id": f"u{number}", "hypotheses": hypotheses, "references": [" ".join(reference)]})
    return lists


LISTS = made(12)


def lines_of(answer: Any) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert answer.text.endswith("\n")
    return [json.loads(line) for line in answer.text.split("\n")[:-1]]


def done(client: TestClient, headers: dict[str, str] | None = None, **body: Any) -> dict[str, Any]:
    """The last line."""
    *before, last = lines_of(client.post("/v1/tune", json={"lists": LISTS, **body}, headers=headers))
    assert all(set(line) == {"progress"} for line in before)
    assert last["done"] is True, last
    return last


def by_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lists: Sequence[Any], *arguments: str
) -> dict[str, Any]:
    """What nbest tune writes for the same lists, with the same model."""
    path, out = tmp_path / "lists.jsonl", tmp_path / "weights.json"
    path.write_text("".join(json.dumps(one) + "\n" for one in lists))
    monkeypatch.setattr(
        "service.cli.tune.open_scorers", lambda names, **_: [FakeScorer(name) for name in names]
    )
    result = CliRunner().invoke(nbest, ["tune", str(path), *arguments, "--out", str(out)])
    assert result.exit_code == 0, result.output
    return json.loads(out.read_text())  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("body", "arguments"),
    [
        ({}, ["--metric", "bleu"]),
        ({"metric": "wer", "seed": 7, "restarts": 3, "models": ["small"]}, ["--metric", "wer", "--seed", "7", "--restarts", "3", "--lm", "small"]),
        ({"metric": "wer", "l2": 0.5}, ["--metric", "wer", "--l2", "0.5"]),
        ({"metric": "bleu-0.5*ter", "restarts": 2}, ["--metric", "bleu-0.5*ter", "--restarts", "2"]),
        ({"metric": "wer", "optimizer": "risk"}, ["--metric", "wer", "--optimizer", "risk"]),
        ({"metric": "chrf", "optimizer": "mira", "seed": 3}, ["--metric", "chrf", "--optimizer", "mira", "--seed", "3"]),
        ({"metric": "wer", "optimizer": "choose", "folds": 2, "restarts": 2}, ["--metric", "wer", "--optimizer", "choose", "--folds", "2", "--restarts", "2"]),
        ({"metric": "wer", "optimizer": "grid", "models": ["small"], "lmwt": [1, 2, 3], "wip": [0, 1]}, ["--metric", "wer", "--optimizer", "grid", "--lm", "small", "--lmwt", "1,2,3", "--wip", "0,1"]),
        ({"metric": "wer", "features": ["ac", "f2"], "fix": {"ac": 1}, "range": {"f2": [0, None]}}, ["--metric", "wer", "--features", "ac,f2", "--fix", "ac=1", "--range", "f2=0:"]),
        ({"metric": "wer", "group": [["f0", "f1"]], "restarts": 2}, ["--metric", "wer", "--group", "f0,f1", "--restarts", "2"]),
    ],
)  # fmt: skip
def test_the_weights_are_those_of_nbest_tune(
    client: TestClient,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    body: dict[str, Any],
    arguments: list[str],
) -> None:
    found = done(client, **body)
    written = by_command(monkeypatch, tmp_path, LISTS, *arguments)
    assert found["weights"] == written
    assert found["after"] == written["tuning"]["score"]
    assert parse_weights(json.dumps(found["weights"])).tuned


def test_scores_are_those_of_the_metric(client: TestClient) -> None:
    found = done(client, metric="wer", models=["small"], held_out=0)
    metric = get_metric("wer")
    references = [one["references"] for one in LISTS]
    first = [one["hypotheses"][0]["text"] for one in LISTS]
    assert found["before"] == pytest.approx(metric.report(first, references).score)
    ranked = client.post(
        "/v1/rescore", json={"lists": LISTS, "models": ["small"], "weights": found["weights"]}
    )
    best = [one["ranking"][0]["text"] for one in ranked.json()["results"]]
    assert found["after"] == pytest.approx(metric.report(best, references).score)
    assert found["oracle"] <= found["after"] < found["before"]
    assert found["oracle_exact"] is True
    assert (found["metric"], found["larger_is_better"], found["lists"]) == ("wer", False, 12)
    assert "held_out" not in found
    flattering, few, _ = found["warnings"]
    assert "tuned on" in flattering
    assert few.startswith("12 lists are few for 7 weights")


def test_what_is_held_out_is_not_tuned_on(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = done(client, metric="wer", held_out=5)
    assert found["weights"] == by_command(monkeypatch, tmp_path, LISTS[:7], "--metric", "wer")
    ranked = client.post("/v1/rescore", json={"lists": LISTS[7:], "weights": found["weights"]}).json()
    metric = get_metric("wer")
    references = [one["references"] for one in LISTS[7:]]
    sides = [
        [one["hypotheses"][0]["text"] for one in LISTS[7:]],
        [one["ranking"][0]["text"] for one in ranked["results"]],
    ]
    held = found["held_out"]
    scores = [metric.report(side, references).score for side in sides]
    assert [held["before"], held["after"]] == pytest.approx(scores)
    counts = [metric.counts(side, np.arange(5), references) for side in sides]
    assert held["p_value"] == paired_test(*counts, metric)
    assert held["interval"][0] <= held["after"] - held["before"] <= held["interval"][1]
    assert (held["lists"], found["lists"]) == (5, 7)
    assert not any("held_out" in warning for warning in found["warnings"])


def test_progress_is_told(client: TestClient) -> None:
    told = [
        line["progress"]
        for line in lines_of(
            client.post(
                "/v1/tune", json={"lists": LISTS, "metric": "wer", "models": ["small"], "restarts": 4}
            )
        )[:-1]
    ]
    assert [one["stage"] for one in told] == ["scoring", "counting", "counted", *["tuning"] * 4]
    texts = {each["text"] for one in LISTS for each in one["hypotheses"]}
    assert (told[0]["model"], told[0]["hypotheses"]) == ("small", len(texts))
    assert [(one["done"], one["of"]) for one in told[3:]] == [(k, 4) for k in (1, 2, 3, 4)]
    bests = [one["best"] for one in told[3:]]
    assert bests == sorted(bests, reverse=True)  # an error rate falls
    assert all(one["score"] >= one["best"] for one in told[3:])
    epochs = lines_of(client.post("/v1/tune", json={"lists": LISTS, "metric": "wer", "optimizer": "mira"}))
    assert [line["progress"]["done"] for line in epochs[2:-1]] == list(range(1, 61))
    parts = lines_of(
        client.post("/v1/tune", json={"lists": LISTS, "metric": "wer", "optimizer": "choose", "folds": 2, "restarts": 1})
    )  # fmt: skip
    choosing = [one["progress"] for one in parts[:-1] if one["progress"]["stage"] == "choosing"]
    assert [(one["done"], one["of"]) for one in choosing] == [(k, 12) for k in range(1, 13)]
    assert set(parts[-1]["candidates"]) >= {"mert", "mira"}


def test_what_is_the_same_throughout_has_no_weight(client: TestClient) -> None:
    lists = [
        {
            **one,
            "hypotheses": [
                {**each, "features": {**each["features"], "same": 2}} for each in one["hypotheses"]
            ],
        }
        for one in LISTS
    ]
    found = done(client, lists=lists, metric="wer")
    assert found["weights"]["features"]["same"] == 0
    assert found["warnings"][-1] == "the same throughout every list, so without weight: same, word_count"


def test_the_initial_weights(client: TestClient) -> None:
    inline = done(client, metric="wer", initial={"features": {"ac": 1, "f2": 2}}, optimizer="risk")
    ranked = client.post(
        "/v1/rescore",
        json={"lists": LISTS, "weights": {"features": {"ac": 1, "f2": 2}}, "options": {"unknown_feature": "ignore"}},
    )  # fmt: skip
    best = [one["ranking"][0]["text"] for one in ranked.json()["results"]]
    assert inline["initial"] == pytest.approx(
        get_metric("wer").report(best, [one["references"] for one in LISTS]).score
    )
    stored = done(client, metric="wer", initial="asr", models=["small"], optimizer="risk")  # ac 1, small 9
    assert stored["initial"] != inline["initial"]


@pytest.mark.parametrize(
    ("change", "status", "kind", "words"),
    [
        ({"metric": "meteor"}, 422, "invalid-request", "/metric"),
        ({"metric": "wer", "tokenize": "13a"}, 422, "invalid-configuration", "tokenize is for bleu"),
        ({"optimizer": "sgd"}, 422, "invalid-request", "'mert'"),
        ({"restarts": 0}, 422, "invalid-request", "/restarts"),
        ({"restarts": 201}, 422, "invalid-request", "at most 200"),
        ({"seed": -1}, 422, "invalid-request", "/seed"),
        ({"l2": float("nan")}, 422, "non-finite-feature", "/l2"),
        ({"optimizer": "mira", "l2": 1.0}, 422, "invalid-configuration", "/l2"),
        ({"optimizer": "grid", "fix": {"ac": 1}}, 422, "invalid-configuration", "no fix"),
        ({"mix": ["a", "b"]}, 422, "invalid-configuration", "/mix"),
        ({"lmwt": [1.0] * 1000, "wip": [1.0] * 11}, 413, "limit-exceeded", "10000"),
        ({"held_out": 12}, 422, "invalid-configuration", "less than 12"),
        ({"optimizer": "choose", "folds": 5, "held_out": 8}, 422, "invalid-configuration", "at most 4"),
        ({"lists": []}, 422, "invalid-request", "/lists"),
        ({"lists": [{**LISTS[0], "references": []}]}, 400, "invalid-format", "/lists/0/references"),
        ({"lists": [{k: v for k, v in LISTS[0].items() if k != "references"}]}, 422, "reference-mismatch", "/lists/0"),
        ({"lists": [LISTS[0], LISTS[0]]}, 400, "invalid-format", "/lists/1/id"),
        ({"lists": [LISTS[0], {**LISTS[1], "hypotheses": [{"text": "a", "features": {"ac": 1}}]}]}, 422, "invalid-feature", "/lists/1/hypotheses/0/features"),
        ({"lists": [{**LISTS[0], "references": ["a", "b"]}], "metric": "wer"}, 422, "reference-mismatch", "one reference"),
        ({"lists": [{**LISTS[0], "references": [" "]}]}, 422, "reference-mismatch", "no word in the references"),
        ({"lists": [{**LISTS[0], "references": ["a " * 9000]}]}, 413, "limit-exceeded", "/lists/0/references/0"),
        ({"models": ["large"]}, 404, "not-found", "large"),
        ({"models": ["small", "small"]}, 422, "invalid-configuration", "2 times"),
        ({"models": ["broken"]}, 503, "invalid-model-file", "broken"),
        ({"lists": [{**LISTS[0], "hypotheses": [{"text": "a", "features": {"small": 1}}]}], "models": ["small"]}, 422, "invalid-feature", "small is there already"),
        ({"features": ["nothing"]}, 422, "invalid-feature", "nothing"),
        ({"fix": {"nothing": 1}}, 422, "invalid-feature", "nothing"),
        ({"range": {"ac": [2, 1]}}, 422, "invalid-configuration", "no range"),
        ({"initial": "nothing"}, 404, "not-found", "nothing"),
        ({"initial": {"features": {"x": 1}}}, 422, "invalid-feature", "unknown feature 'x'"),
        ({"name": "a@3"}, 409, "conflict", "not a name to write under"),
        ({"name": "asr"}, 428, "precondition-required", "If-Match"),
        ({"unknown": 1}, 422, "invalid-request", "/unknown"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_before_the_first_line(
    client: TestClient, change: dict[str, Any], status: int, kind: str, words: str
) -> None:
    content = json.dumps({"lists": LISTS, "metric": "bleu", **change})
    answer = client.post("/v1/tune", content=content, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["type"]) == (status, kind), answer.text
    assert words in answer.text


def test_limits_of_the_service(make_client: Callable[..., TestClient]) -> None:
    for limit, words in (
        ({"max_lists": 3}, "too many lists"),
        ({"max_hypotheses": 10}, "too many hypotheses"),
    ):
        answer = make_client(**limit).post("/v1/tune", json={"lists": LISTS})
        assert answer.status_code == 413
        assert words in answer.json()["detail"]


def test_a_search_that_takes_too_long_ends(make_client: Callable[..., TestClient]) -> None:
    client = make_client(tune_seconds=0.5)
    *_, last = lines_of(client.post("/v1/tune", json={"lists": made(300, 30, 12), "restarts": 200}))
    assert last["done"] is False
    assert last["error"]["type"] == "limit-exceeded"
    assert last["error"]["expected"] == "at most 0.5 seconds"


def test_what_fails_on_the_way_is_the_last_line(client: TestClient) -> None:
    huge = [{"text": text, "features": {"ac": value}} for text, value in (("a", 1e300), ("b", -1e300))]
    answer = client.post("/v1/tune", json={"lists": [{**LISTS[0], "hypotheses": huge}]})
    *_, last = lines_of(answer)
    assert last == {
        "done": False,
        "request_id": answer.headers["x-request-id"],
        "error": {
            "type": "invalid-feature",
            "detail": "feature ac cannot be standardised",
            "pointer": "/lists",
            "expected": "values whose squares are neither too large nor too small for a double",
        },
    }


def test_a_fault_of_a_model_is_told(client: TestClient) -> None:
    crash = [{"text": "CRASH", "features": {"ac": 1}}]
    answer = client.post("/v1/tune", json={"lists": [{**LISTS[0], "hypotheses": crash}], "models": ["small"]})
    last = answer.json() if answer.status_code == 500 else lines_of(answer)[-1]["error"]
    assert last["type"] == "scoring-failed"
    assert done(client)["done"]  # nobody else is hurt


def test_weights_are_saved_as_a_put_saves_them(client: TestClient, world: World) -> None:
    first = done(client, name="mt", metric="wer")
    assert first["saved"]["version"] == 1
    assert json.loads((world.weights / "mt@1.json").read_text()) == first["weights"]
    assert client.get("/v1/weights/mt").headers["etag"] == first["saved"]["etag"]
    again = done(
        client, {"If-Match": first["saved"]["etag"]}, name="mt", metric="wer", seed=2, optimizer="risk"
    )
    assert again["saved"]["version"] == 2
    late = client.post(
        "/v1/tune", json={"lists": LISTS, "name": "mt"}, headers={"If-Match": first["saved"]["etag"]}
    )
    assert late.status_code == 412
    by_name = client.post("/v1/rescore", json={"lists": LISTS, "weights": "mt"})
    assert all("error" not in one for one in by_name.json()["results"])


def test_weights_are_not_lost_where_they_cannot_be_saved(make_client: Callable[..., TestClient]) -> None:
    found = done(make_client(max_weight_files=1), name="mt", metric="wer")
    assert found["weights"]["tuned"]
    assert found["saved"]["error"]["type"] == "storage-failed"


def test_web_pages_tune_but_save_nothing_in_a_service_without_keys(client: TestClient) -> None:
    origin = {"Origin": "http://testserver"}
    assert done(client, origin, metric="wer")["done"]
    answer = client.post("/v1/tune", json={"lists": LISTS, "name": "mt"}, headers=origin)
    assert (answer.status_code, answer.json()["type"]) == (403, "forbidden")


def test_keys_need_the_scope(make_client: Callable[..., TestClient], tmp_path: Path) -> None:
    keys = {scope: new_key(scope, [scope], datetime.now(UTC)) for scope in ("score", "tune")}
    write_keys([key for _, key in keys.values()], tmp_path / "keys.json")
    client = make_client(keys=tmp_path / "keys.json")
    score, tune = ({"Authorization": f"Bearer {keys[name][0]}"} for name in ("score", "tune"))
    assert client.post("/v1/tune", json={"lists": LISTS}).status_code == 401
    refused = client.post("/v1/tune", json={"lists": LISTS}, headers=score)
    assert refused.status_code == 403
    assert 'scope="tune"' in refused.headers["www-authenticate"]
    tuned = done(client, {**tune, "Origin": "http://testserver"}, name="mt", metric="wer")
    assert tuned["saved"]["version"] == 1


def test_so_many_are_in_hand_and_no_more(client: TestClient, world: World) -> None:
    assert client.post("/v1/score", json={"model": "small", "texts": ["a"]}).status_code == 200
    gate = world.opened["small"].gate
    gate.clear()
    found: list[Any] = []

    def ask(number: int) -> None:
        lists = made(3, seed=number)
        body = {"lists": lists, "models": ["small"], "metric": "wer", "restarts": 1}
        found.append(lines_of(client.post("/v1/tune", json=body)))

    callers = [threading.Thread(target=ask, args=(number,)) for number in range(MOST)]
    for caller in callers:
        caller.start()
    until(lambda: len(client.app.state.tunings._tasks) == MOST)  # type: ignore[attr-defined]
    late = client.post("/v1/tune", json={"lists": LISTS})
    assert (late.status_code, late.json()["type"]) == (429, "busy")
    assert int(late.headers["retry-after"]) >= 1
    gate.set()
    for caller in callers:
        caller.join(60)
    assert [lines[-1]["done"] for lines in found] == [True] * MOST
    assert any({"progress": {"stage": "waiting"}} in lines for lines in found)
    assert client.post("/v1/tune", json={"lists": LISTS, "restarts": 1}).status_code == 200


def until(condition: Callable[[], bool]) -> None:
    for _ in range(3000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("never came true")


# The process


def task(count: int = 4, restarts: int = 2, **changes: Any) -> Task:
    """Lists of one feature that knows the right hypothesis; many restarts take for ever."""
    texts = [text for number in range(count) for text in (f"no {number}", f"yes {number}")]
    values = np.tile([[0.0, 0.3], [-1.0, 0.5]], (count, 1))
    schema = (Feature("f"), Feature("g"))
    ids = tuple(map(str, range(count)))
    references = tuple((f"yes {number}",) for number in range(count))
    lists = NbestLists(ids, np.arange(0, 2 * count + 1, 2), tuple(texts), schema, values)
    plan = Plan(Settings("mert", restarts, 1, None, 1), Constraints(), Grid("ac", (1.0,), (0.0,), None))
    given: dict[str, Any] = {
        "lists": lists, "references": references, "metric": "wer", "tokenize": "none", "lowercase": False,
        "first": np.ones(2), "plan": plan, **changes,
    }  # fmt: skip
    return Task(**given)


FOREVER = 10**6  # restarts


def test_the_process_does_what_is_done_here() -> None:
    told: list[Any] = []
    here = work(task(held_out=1), told.append)
    assert (here.before, here.found.score, here.oracle) == (50.0, 0.0, 0.0)
    assert here.held_out == HeldOut(1, 50.0, 0.0, (-50.0, -50.0), 1.0)
    said: list[Any] = []
    there = asyncio.run(Tunings(60).run(task(held_out=1), said.append))
    assert said == told
    assert pickle.dumps(there) == pickle.dumps(pickle.loads(pickle.dumps(here)))
    assert isinstance(there, Result)


def test_what_it_raises_is_raised_here() -> None:
    with pytest.raises(ReferenceMismatchError, match="one reference") as caught:
        asyncio.run(Tunings(60).run(task(references=(("a", "b"),) * 4), lambda _: None))
    assert caught.value.where == "segment 0"


def children() -> list[int]:
    """Processes of this one that tune."""
    found = []
    for place in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            parent = int((place / "stat").read_text().rsplit(")", 1)[1].split()[1])
            if parent == os.getpid() and b"tuning_worker" in (place / "cmdline").read_bytes():
                found.append(int(place.name))
    return found


needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc on this system")


async def begun(tunings: Tunings, **changes: Any) -> tuple[asyncio.Task[Any], int]:
    """A search without end, and its process."""
    told: list[Any] = []
    running = asyncio.create_task(tunings.run(task(restarts=FOREVER, **changes), told.append))
    while not any(one["stage"] == "tuning" for one in told):
        assert not running.done()
        await asyncio.sleep(0.01)
    (process,) = children()
    return running, process


@needs_proc
def test_it_gives_way_in_one_thread() -> None:
    async def check() -> None:
        running, process = await begun(Tunings(60))
        stat = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
        assert int(stat[16]) == min(19, os.nice(0) + NICE)
        variables = Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
        assert b"OPENBLAS_NUM_THREADS=1" in variables
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert children() == []

    asyncio.run(check())


@needs_proc
def test_it_ends_when_its_time_is_over_and_when_all_end() -> None:
    async def check() -> None:
        tunings = Tunings(2.0)
        with pytest.raises(LimitError, match="nbest tune has no such limit"):
            await (await begun(tunings))[0]
        assert children() == []
        tunings = Tunings(60)

        async def wanted() -> None:
            await tunings.run(task(restarts=FOREVER), lambda _: None)

        first, second = tunings.start(wanted()), tunings.start(wanted())
        while not children():
            await asyncio.sleep(0.01)
        await tunings.close()
        assert first.cancelled()
        assert second.cancelled()
        assert children() == []

    asyncio.run(check())


@needs_proc
def test_a_process_that_dies_is_a_fault_that_is_told() -> None:
    async def check() -> None:
        tunings = Tunings(60)
        running, process = await begun(tunings)
        os.kill(process, signal.SIGKILL)
        with pytest.raises(TuningFailedError, match="the service's log has"):
            await running
        assert (await tunings.run(task(), lambda _: None)).found.score == 0.0  # the next one has its turn

    asyncio.run(check())


@needs_proc
def test_it_ends_with_whoever_began_it() -> None:
    program = """
import asyncio, sys
from tests.service.test_tune import *
async def main():
    running, process = await begun(Tunings(60))
    print(process, flush=True)
    await running
asyncio.run(main())
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    service = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, env=environment, text=True
    )
    assert service.stdout is not None
    tuner = int(service.stdout.readline())
    service.kill()
    service.wait()
    service.stdout.close()
    until(lambda: not Path(f"/proc/{tuner}").exists() or zombie(tuner))


def zombie(process: int) -> bool:
    """Whether it has ended and only waits for someone to ask how."""
    with suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    return True


def test_it_loads_neither_models_nor_the_service() -> None:
    program = (
        "import sys, service.tuning_worker; "
        "print([one for one in ('torch', 'fastapi', 'models') if one in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout == "[]\n"


# A real server


@pytest.fixture
def server(world: World) -> Iterator[str]:
    """The address of a real server in this process."""
    import uvicorn

    from service.app import create_app

    app = create_app(world.settings(), opener=world.open_scorer, shipped=["small"])
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(app, log_config=None, access_log=False)
        running = uvicorn.Server(config)
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
        thread.start()
        until(lambda: running.started)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        running.should_exit = True
        thread.join(60)


@needs_proc
def test_a_caller_who_leaves_ends_the_tuning(server: str) -> None:
    lists = made(300, 30, 12)
    body = json.dumps({"lists": lists, "restarts": 200}).encode()
    request = urllib.request.Request(f"{server}/v1/tune", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert answer.headers["Content-Type"] == "application/x-ndjson"
        stages = [json.loads(answer.readline())["progress"]["stage"] for _ in range(3)]
        assert stages == ["counting", "counted", "tuning"]
        assert len(children()) == 1
        began = time.monotonic()  # others are served meanwhile
        asked = urllib.request.Request(
            f"{server}/v1/rescore",
            json.dumps({"models": ["small"], "weights": {"features": {"small": 1}}, "lists": [{"id": "a", "hypotheses": [{"text": "a"}]}]}).encode(),
            {"Content-Type": "application/json"},
        )  # fmt: skip
        with urllib.request.urlopen(asked, timeout=60) as other:
            assert json.load(other)["results"][0]["ranking"][0]["text"] == "a"
        assert time.monotonic() - began < 5
    until(lambda: children() == [])
