"""The whole service with a real scoring process, which is killed under load; and models of running text."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi.testclient import TestClient

from service.app import create_app
from service.settings import Settings

LISTS = [
    {"id": f"u{k}", "hypotheses": [{"text": f"the man went {word} {k}"} for word in ("home", "hone", "roam")]}
    for k in range(40)
]
BODY = {"models": ["small"], "weights": {"features": {"small": 1.0}}, "lists": LISTS}


def _is_gone(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text("ascii").rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


async def until(condition: Callable[[], Any]) -> None:
    for _ in range(6000):
        if await condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("never came true")


def test_a_segfault_under_load_costs_only_answers_that_can_be_asked_for_again() -> None:
    app = create_app(Settings(preload=("small",), threads=1))

    async def main() -> None:
        transport = httpx2.ASGITransport(app=app)
        async with (
            app.router.lifespan_context(app),
            httpx2.AsyncClient(transport=transport, base_url="http://nbest", timeout=120) as client,
        ):

            async def ready(status: int) -> bool:
                return (await client.get("/readyz")).status_code == status

            await until(lambda: ready(200))
            expected = (await client.post("/v1/rescore", json=BODY)).json()["results"]
            found: list[int] = []

            async def caller() -> None:
                for _ in range(25):
                    answer = await client.post("/v1/rescore", json=BODY)
                    found.append(answer.status_code)
                    if answer.status_code == 200:
                        for one, other in zip(answer.json()["results"], expected, strict=True):
                            for now, then in zip(one["ranking"], other["ranking"], strict=True):
                                assert now["text"] == then["text"]
                                assert now["score"] == pytest.approx(then["score"], abs=1e-3)
                        continue
                    assert answer.status_code == 503
                    assert answer.json()["type"] in ("scoring-process-lost", "not-ready")
                    assert int(answer.headers["retry-after"]) >= 1
                    await asyncio.sleep(0.2)

            callers = [asyncio.create_task(caller()) for _ in range(8)]
            await until(lambda: asyncio.sleep(0, len(found) > 10))
            (pid,) = app.state.service.registry.pool.pids
            os.kill(pid, signal.SIGSEGV)
            await until(lambda: ready(503))
            assert (await client.get("/livez")).status_code == 200
            assert "restarting" in (await client.get("/readyz")).json()["detail"]
            await until(lambda: ready(200))
            await asyncio.gather(*callers)
            assert found.count(503) >= 1
            assert set(found) == {200, 503}
            again = await client.post("/v1/rescore", json=BODY)
            assert again.status_code == 200
            figures = (await client.get("/metrics")).text
            assert 'nbest_scoring_process_losses_total{how="signal 11"} 1' in figures
            assert "nbest_scoring_process_resident_bytes{" in figures
            assert "nbest_scoring_process_peak_resident_bytes{" in figures
            (last,) = app.state.service.registry.pool.pids
        await until(lambda: asyncio.sleep(0, _is_gone(last)))  # with the service

    asyncio.run(main())


def test_the_process_of_the_service_does_without_torch() -> None:
    program = (
        "import sys; from service.app import create_app; create_app(); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


def test_segments_before_a_list_set_its_start_where_the_model_has_learnt_from_running_text(
    tmp_path: Path,
) -> None:
    from models import checkpoint
    from models.architectures import architecture
    from models.checkpoint import ModelCard
    from models.language_model import LanguageModel
    from models.scoring.reference import ReferenceScorer
    from models.vocabulary import SPECIAL, Vocabulary

    words = Vocabulary((*SPECIAL, "a", "man", "walks", "dog", "the"))
    for name, running in (("running", True), ("single", False)):
        model = LanguageModel(architecture("lstm", len(words), 8))
        checkpoint.save(tmp_path / name, model, replace(words, running=running), ModelCard(name=name))
    app = create_app(Settings(models=tmp_path, threads=1))
    lists = [
        {
            "id": "u",
            "context": ["The Dog walks", "a man"],
            "hypotheses": [{"text": "a dog"}, {"text": "the man"}],
        },
        {"id": "v", "hypotheses": [{"text": "a dog"}, {"text": "a dog"}]},
    ]
    weights = {"features": {"running": 1.0, "single": 0.0}, "text": "lower"}
    with TestClient(app) as client:
        asked = {"models": ["running", "single"], "weights": weights, "lists": lists}
        answer = client.post("/v1/rescore", json={**asked, "options": {"tokens": True}}).json()
        wrong = client.post("/v1/rescore", json={**asked, "lists": [{**lists[0], "context": "one"}]}).json()
    loaded = checkpoint.load(tmp_path / "running")
    reference = ReferenceScorer(loaded.model, loaded.vocabulary)
    first, second = answer["results"]
    assert first["warnings"] == ["the context is not used: the model single has learnt from single sentences"]
    assert second["warnings"] == []
    for result, context in ((first, ["the dog walks", "a man"]), (second, [])):
        for entry in result["ranking"]:
            expected = reference.token_scores(entry["text"], context)
            assert entry["score"] == pytest.approx(sum(expected), abs=1e-4)
            told = [token["nat_log_prob"] for token in entry["tokens"]["running"]]
            assert told == pytest.approx(expected, abs=1e-4)
    assert answer["usage"]["tokens"] == 2 * 4 * 3
    assert wrong["results"][0]["error"]["pointer"] == "/lists/0/context"


def test_a_model_of_pieces_is_scored_by_a_process_of_its_own(tmp_path: Path) -> None:
    pytest.importorskip("sentencepiece")
    from models import catalog, checkpoint
    from models.architectures import architecture
    from models.checkpoint import ModelCard
    from models.language_model import LanguageModel
    from models.vocabulary import build_piece_vocabulary

    lines = ["the walking dog walks", "a walker walked the dogs", "talk talks talked talking"]
    vocabulary = build_piece_vocabulary(lines, size=40, lowercase=True, unseen_types=9)
    model = LanguageModel(architecture("lstm", len(vocabulary), 8))
    checkpoint.save(tmp_path / "pieces", model, vocabulary, ModelCard(name="pieces"))
    texts = ["the dog walks", "", "the walker talks"]
    expected = catalog.open_scorer(str(tmp_path / "pieces")).score(texts).nat_log_probs.tolist()
    with TestClient(create_app(Settings(models=tmp_path, threads=1))) as client:
        for tokens in (False, True):
            asked = {"model": "pieces", "texts": texts, "tokens": tokens}
            answer = client.post("/v1/score", json=asked).json()
            told = [one["nat_log_prob"] for one in answer["scores"]]
            assert told == pytest.approx(expected, abs=1e-4)
            assert answer["usage"]["unique_tokens"] > 0
