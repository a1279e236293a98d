"""The benchmark of the service: its lists and requests, and one small run of it."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from rescoring.nbest import Feature, NbestLists
from rescoring.scorer import ScoreArrays


@pytest.fixture
def serving(load_benchmark: Callable[[str], ModuleType]) -> ModuleType:
    return load_benchmark("serving")


def lists(sizes: list[int]) -> NbestLists:
    count = sum(sizes)
    return NbestLists(
        ids=tuple(f"s{k}" for k in range(len(sizes))),
        offsets=np.concatenate([[0], np.cumsum(sizes)]),
        texts=tuple(f"text {k}" for k in range(count)),
        schema=(Feature("lm"), Feature("tm", 2)),
        features=np.arange(3.0 * count).reshape(count, 3),
    )


def test_lists_are_cut_to_their_first(serving: ModuleType) -> None:
    found = serving.first_of_each(lists([3, 1, 5]), 2)
    assert found.texts == ("text 0", "text 1", "text 3", "text 4", "text 5")
    assert found.offsets.tolist() == [0, 2, 3, 5]
    assert found.features.tolist() == lists([3, 1, 5]).features[[0, 1, 3, 4, 5]].tolist()


def test_made_up_lists_are_variants_of_a_sentence(serving: ModuleType) -> None:
    found = serving.made_up(random.Random(1), 3)
    assert len(found) == 3
    assert len(found.texts) == 3 * serving.MOST
    for rows in found:
        assert len({len(found.texts[row].split(" ")) for row in rows}) == 1
        assert len({found.texts[row] for row in rows}) > serving.MOST / 2


def test_requests_are_whole_and_say_what_the_lists_do(serving: ModuleType) -> None:
    work = serving.Work("small", lists([2, 3]), [])
    head, _, body = work.requests[1].partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    content = json.loads(body)
    assert content["weights"]["features"] == {"lm": [0.1], "tm": [0.1, 0.1], "small": [0.5]}
    assert [one["text"] for one in content["lists"][0]["hypotheses"]] == ["text 2", "text 3", "text 4"]
    assert content["lists"][0]["hypotheses"][0]["features"] == {"lm": 6.0, "tm": [7.0, 8.0]}
    assert json.loads(work.request([0], most=1).partition(b"\r\n\r\n")[2])["lists"][0]["hypotheses"][1:] == []


@pytest.mark.parametrize(
    ("index", "score", "rival", "right"),
    [(3, -5.0, -6.0, True), (3, -5.001, -6.0, True), (2, -5.0, -6.0, False), (3, -5.01, -6.0, False),
     (2, -5.0, -5.0005, True)],
)  # fmt: skip
def test_an_answer_is_right_up_to_rounding(
    serving: ModuleType, index: int, score: float, rival: float, right: bool
) -> None:
    assert serving.Answer(3, -5.0, rival).agrees(index, score) is right


def test_a_wrong_answer_ends_the_benchmark(serving: ModuleType) -> None:
    work = serving.Work("small", lists([2]), [serving.Answer(0, -1.0, -2.0)])
    work.check(0, b'{"results": [{"ranking": [{"index": 0, "score": -1.0}]}]}')
    for wrong in ('{"ranking": [{"index": 1, "score": -1.0}]}', '{"error": {"type": "x"}}'):
        with pytest.raises(SystemExit, match="list 0: expected"):
            work.check(0, f'{{"results": [{wrong}]}}'.encode())


def test_percentiles_and_processors(serving: ModuleType) -> None:
    assert serving.milliseconds([0.001 * k for k in range(1, 102)]) == {
        "p50_ms": 51.0, "p95_ms": 96.0, "p99_ms": 100.0, "most_ms": 101.0,
    }  # fmt: skip
    assert serving.milliseconds([]) == {}
    server, load = serving.processors()
    assert load
    assert not server & load or server == load


def test_the_memory_of_all_processes_is_counted(serving: ModuleType) -> None:
    import os
    import subprocess
    import sys

    code = "import sys; x = b'1' * 50_000_000; sys.stdin.read()"
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
    try:
        me = serving.Server(os.getpid(), "", 0)
        for _ in range(200):
            if serving.Server(child.pid, "", 0).resident_bytes() > 50e6:
                break
            import time

            time.sleep(0.05)
        assert me.resident_bytes() >= serving.Server(child.pid, "", 0).resident_bytes() + 30e6
        assert serving.Server(2**22 + 1, "", 0).resident_bytes() == 0
    finally:
        child.communicate()


def test_the_right_answers_are_those_of_the_pipeline(
    serving: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine's process, in this one: orders in, answers out."""
    from models import catalog

    class Lengths:
        name, digest = "small", "sha256:0"

        def score(self, texts: Any) -> ScoreArrays:
            count = np.array([len(text) for text in texts])
            return ScoreArrays(-1.0 * count, count, 0 * count)

    class Pipe:
        def __init__(self) -> None:
            self.orders = [("answers", ()), ("one", ([0, 1],)), ("throughput", (0.01,))]
            self.sent: list[Any] = []

        def recv(self) -> Any:
            if not self.orders:
                raise EOFError
            return self.orders.pop(0)

        def send(self, found: Any) -> None:
            self.sent.append(found)

    monkeypatch.setattr(catalog, "open_scorer", lambda name: Lengths())
    monkeypatch.setattr(serving.os, "sched_setaffinity", lambda pid, where: None)
    pipe = Pipe()
    serving._engine(pipe, "small", lists([2, 3]), 1, set())
    answers, seconds, rate = pipe.sent
    # 0.1 times all features and half of minus six letters: the last of each list, whose features are largest.
    assert [one.index for one in answers] == [1, 2]
    assert [one.score for one in answers] == pytest.approx([0.1 * 12 - 3, 0.1 * 39 - 3])
    assert answers[1].rival == pytest.approx(0.1 * 30 - 3)
    assert len(seconds) == 2
    assert rate > 0


@pytest.fixture
def tiny(serving: ModuleType, tmp_path: Path) -> Path:
    """A real model that knows the words of the made-up lists, and takes a while for a large request."""
    import torch

    from models import checkpoint
    from models.architectures import architecture
    from models.language_model import LanguageModel
    from models.vocabulary import SPECIAL, Vocabulary

    vocabulary = Vocabulary((*SPECIAL, *dict.fromkeys(serving.WORDS)), unseen_types=7)
    torch.manual_seed(1)
    model = LanguageModel(architecture("bllm", len(vocabulary), 768, 1))
    checkpoint.save(
        tmp_path / "tiny", model, vocabulary, checkpoint.ModelCard(name="tiny", licence="CC0-1.0")
    )
    return tmp_path / "tiny"


@pytest.mark.slow
def test_a_quick_run(run_benchmark: Callable[..., Any], tiny: Path, tmp_path: Path) -> None:
    """All of it, with made-up lists and a tiny model; its figures mean nothing."""
    done = run_benchmark("serving", "--model", tiny, "--quick", "--force", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "out/serving.json").read_text())
    assert set(found["throughput"]["clients"]) == {"1", "8", "64", "256"}
    for one in found["throughput"]["clients"].values():
        assert one["lists_per_second"] > 0
        assert one["p50_ms"] <= one["p95_ms"] <= one["p99_ms"]
    assert found["one list alone"]["times_engine"] > 0
    assert sum(found["overload"]["answers"].values()) > 0
    assert found["behind a large request"]["times_idle"] > 0
    assert found["memory"]["most_mb"] > 50
    assert found["quick"] is True
