"""Large requests and small ones: ranking goes in slices of bounded size, and others come in between."""

import asyncio
import doctest
import json
import threading
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service import answering
from service.answering import SLICE_HYPOTHESES, SLICE_LISTS, slices
from service.app import create_app
from service.turns import Turns


@given(st.lists(st.integers(0, 2 * SLICE_HYPOTHESES), max_size=200))
def test_slices_are_all_lists_in_order_within_bounds(sizes: list[int]) -> None:
    found = list(slices(sizes))
    assert [place for part in found for place in range(part.start, part.stop)] == list(range(len(sizes)))
    for part in found:
        assert 1 <= part.stop - part.start <= SLICE_LISTS
        assert part.stop - part.start == 1 or sum(sizes[part]) <= SLICE_HYPOTHESES
    assert len(found) <= len(sizes)


def test_the_example_of_slices() -> None:
    assert doctest.testmod(answering).failed == 0


def many(count: int, hypotheses: int = 3) -> dict[str, Any]:
    each = [{"text": f"a {j}", "features": {"ac": -1.0 * j}} for j in range(hypotheses)]
    lists = [{"id": f"u{k}", "hypotheses": each} for k in range(count)]
    return {"models": ["small"], "weights": {"features": {"ac": 1.0, "small": 1.0}}, "lists": lists}


def test_a_small_request_is_ranked_between_two_slices_of_a_large_one(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The large one is held in its third slice; what the small one waits for is that slice alone."""
    ranked: list[tuple[str | None, int, int]] = []
    third, go_on = threading.Event(), threading.Event()
    real = answering._rank

    def noted(question: Any, part: Any) -> Any:
        lists = [one for one, *_ in part]
        ids = [one.ids[0] for one in lists]
        ranked.append((ids[0], len(part), sum(len(one.texts) for one in lists)))
        if ids[0] == f"u{2 * SLICE_LISTS}":
            third.set()
            assert go_on.wait(20)
        return real(question, part)

    monkeypatch.setattr(answering, "_rank", noted)
    monkeypatch.setattr(answering, "AT_ONCE_HYPOTHESES", 0)  # else the small one would not even wait for that
    app = create_app(world.settings(), opener=world.open_scorer, shipped=["small"])

    async def main() -> None:
        transport = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://nbest") as client:
            large = asyncio.create_task(client.post("/v1/rescore", json=many(1000)))
            await asyncio.to_thread(third.wait, 20)
            small = {**many(1), "lists": [{**many(1)["lists"][0], "id": "small"}]}
            probe = asyncio.create_task(client.post("/v1/rescore", json=small))
            while app.state.service.rankings.waiting < 2:
                await asyncio.sleep(0.005)
            go_on.set()
            assert (await probe).status_code == 200
            answer = await large
            assert [one["id"] for one in answer.json()["results"]] == [f"u{k}" for k in range(1000)]
            assert all("ranking" in one for one in answer.json()["results"])

    asyncio.run(main())
    order = [first for first, _, _ in ranked]
    assert order.index("small") == 3
    assert max(lists for _, lists, _ in ranked) <= SLICE_LISTS
    assert max(texts for _, _, texts in ranked) <= SLICE_HYPOTHESES
    assert len(ranked) == 1 + -(-1000 // SLICE_LISTS)


def test_slices_answer_as_one_piece_does(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists of several sizes, some of them wrong, against a single slice."""
    body = many(40)
    body["lists"] += [
        {"id": "u0"},
        {"id": "long", "hypotheses": [{"text": f"a {k}", "features": {"ac": 0}} for k in range(300)]},
    ]
    body["lists"].append({"id": "odd", "hypotheses": [{"text": "a", "features": {"x": 1}}]})
    body["lists"] += many(45)["lists"][41:]

    def results() -> Any:
        app = create_app(world.settings(), opener=world.open_scorer, shipped=["small"])

        async def main() -> Any:
            transport = httpx2.ASGITransport(app=app)
            async with httpx2.AsyncClient(transport=transport, base_url="http://nbest") as client:
                return (await client.post("/v1/rescore", content=json.dumps(body))).json()["results"]

        return asyncio.run(main())

    monkeypatch.setattr(answering, "SLICE_HYPOTHESES", 100)
    monkeypatch.setattr(answering, "AT_ONCE_HYPOTHESES", 0)
    in_slices = results()
    monkeypatch.setattr(answering, "SLICE_LISTS", 10**6)
    monkeypatch.setattr(answering, "AT_ONCE_HYPOTHESES", 10**6)
    monkeypatch.setattr(answering, "SLICE_HYPOTHESES", 10**6)
    assert in_slices == results()
    assert [one["id"] for one in in_slices if "error" in one] == ["u0", "odd"]


def test_turns_are_taken_one_at_a_time_and_a_cancelled_one_never_runs() -> None:
    async def main() -> None:
        turns = Turns("test")
        gate, ran = threading.Event(), []

        def work(name: str) -> str:
            ran.append(name)
            assert gate.wait(20)
            return name

        tasks = [asyncio.create_task(turns.run(work, name)) for name in "abc"]
        while not ran:
            await asyncio.sleep(0.005)
        assert (ran, turns.waiting) == (["a"], 3)
        tasks[1].cancel()
        await asyncio.sleep(0)
        gate.set()
        assert (await tasks[0], await tasks[2]) == ("a", "c")
        assert (ran, turns.waiting) == (["a", "c"], 0)
        with pytest.raises(ZeroDivisionError):
            await turns.run(lambda: 1 // 0)
        turns.close()

    asyncio.run(main())
