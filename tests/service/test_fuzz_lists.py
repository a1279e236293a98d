# ruff: noqa: E501 - tables read better with more on a line

"""Lists of a request do not know each other: whatever stands beside a list, its answer is the same.

A faulty list harms itself alone; lists in another order are answered in that order; a request cut in two gives
what the whole gave.
"""

import json
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st

Fuzz = Callable[[int], settings]
Lists = list[dict[str, Any]]

WORDS = ("a", "man", "riding", "horse", "is", "zebra", "é", "a\u00a0b", "<x>", "CAPS", "\u2028", "|||")
numbers = st.floats(-1e3, 1e3, allow_nan=False).map(lambda value: round(value, 3) + 0.0)
texts = st.lists(st.sampled_from(WORDS), max_size=6).map(" ".join)
hypotheses = st.fixed_dictionaries(
    {
        "text": texts,
        "features": st.fixed_dictionaries({"ac": numbers, "tm": st.tuples(numbers, numbers).map(list)}),
    }
)
contents = st.fixed_dictionaries({"hypotheses": st.lists(hypotheses, min_size=1, max_size=5)})


@st.composite
def good_lists(draw: st.DrawFn, most: int = 6) -> Lists:
    found = draw(st.lists(contents, min_size=1, max_size=most))
    return [{"id": f"u{number}", **one} for number, one in enumerate(found)]


NAN, INFINITE = float("nan"), float("inf")
DEEP: Any = 0
for _ in range(60):
    DEEP = [DEEP]
faults = st.sampled_from(
    [
        None, 7, "text", [], {}, {"id": "bad"}, {"id": 3}, {"id": ""}, {"id": "bad", "hypotheses": []}, {"hypotheses": None},
        *({"id": "bad", "hypotheses": [{"text": text, "features": {"ac": 1, "tm": [1, 2]}}]}
          for text in (None, 5, "a\nb", "\ud800", "x" * 3000, ["a"])),
        *({"id": "bad", "hypotheses": [{"text": "a", "features": features}]}
          for features in ({"ac": NAN, "tm": [1, 2]}, {"ac": INFINITE, "tm": [1, 2]}, {"ac": 10**400, "tm": [1, 2]}, {"ac": "1"},
                           {"ac": True, "tm": [1, 2]}, {"ac": 1, "tm": [1]}, {"ac": 1}, {}, None, [1], {"ac": 1, "tm": [1, 2], "more": 1},
                           {"ac": DEEP, "tm": [1, 2]}, {"ac": [], "tm": [1, 2]}, {"ac": 1, "tm": [1, NAN]}, {"a=b": 1},
                           {"\ud800": 1}, {"ac": 1, "tm": list(range(60))}, {"ac": -1e308, "tm": [1e308, 1e308]})),
        {"id": "bad", "hypotheses": [{"text": "a", "features": {"ac": 1, "tm": [1, 2]}}, {"text": "b", "features": {"ac": 1}}]},
        {"id": "bad", "hypotheses": [{"text": "a"}], "surprise": DEEP},
        {"id": "\ud800", "hypotheses": [{"text": "a", "features": {"ac": 1, "tm": [1, 2]}}]},
    ]
)  # fmt: skip
KNOWN = {
    "models": ["small"],
    "weights": {"features": {"ac": 0.3, "tm": [1.0, -0.5], "small": 0.7}},
    "options": {"contributions": True, "tokens": True},
}


@pytest.fixture
def client(make_client: Callable[..., TestClient]) -> TestClient:
    return make_client(max_text_bytes=2000, max_features=50)


def ask(client: TestClient, lists: list[Any]) -> list[Any]:
    answer = client.post(
        "/v1/rescore",
        content=json.dumps({**KNOWN, "lists": lists}),
        headers={"Content-Type": "application/json"},
    )
    assert answer.status_code == 200, answer.text
    results: list[Any] = answer.json()["results"]
    assert len(results) == len(lists)
    return results


def test_a_faulty_list_harms_itself_alone(client: TestClient, fuzz: Fuzz) -> None:
    faulty = 0

    @fuzz(50)
    @given(good_lists(), st.lists(faults, min_size=1, max_size=3), st.randoms(use_true_random=False))
    def holds(lists: Lists, wrong: list[Any], rng: Any) -> None:
        nonlocal faulty
        alone = ask(client, lists)
        assert all("ranking" in one for one in alone)
        # The wrong ones are put in anywhere; a second one of an id is wrong for that as well.
        mixed: list[tuple[bool, Any]] = [(True, one) for one in lists]
        for one in wrong:
            mixed.insert(rng.randrange(len(mixed) + 1), (False, one))
        together = ask(client, [one for _, one in mixed])
        assert [one for (good, _), one in zip(mixed, together, strict=True) if good] == alone
        others = [one for (good, _), one in zip(mixed, together, strict=True) if not good]
        assert all(("error" in one) != ("ranking" in one) for one in others)
        faulty += sum("error" in one for one in others)

    holds()
    assert faulty > 50


def test_an_order_of_lists_is_the_order_of_results(client: TestClient, fuzz: Fuzz) -> None:
    @fuzz(25)
    @given(good_lists(), st.randoms(use_true_random=False))
    def holds(lists: Lists, rng: Any) -> None:
        order = list(range(len(lists)))
        rng.shuffle(order)
        before = ask(client, lists)
        assert ask(client, [lists[place] for place in order]) == [before[place] for place in order]

    holds()


def test_a_request_in_two_gives_what_the_whole_gave(client: TestClient, fuzz: Fuzz) -> None:
    @fuzz(25)
    @given(good_lists(), st.data())
    def holds(lists: Lists, data: st.DataObject) -> None:
        whole = ask(client, lists)
        cut = data.draw(st.integers(0, len(lists)))
        parts = [part for part in (lists[:cut], lists[cut:]) if part]
        assert [one for part in parts for one in ask(client, part)] == whole

    holds()


def test_hypotheses_in_another_order_rank_the_same(client: TestClient, fuzz: Fuzz) -> None:
    """Up to the last bits: features are added up in the order in which the first hypothesis has them."""

    @fuzz(25)
    @given(good_lists(1), st.randoms(use_true_random=False))
    def holds(lists: Lists, rng: Any) -> None:
        (before,) = ask(client, lists)
        order = list(range(len(lists[0]["hypotheses"])))
        rng.shuffle(order)
        turned = [lists[0] | {"hypotheses": [lists[0]["hypotheses"][place] for place in order]}]
        (after,) = ask(client, turned)
        scores = {one["index"]: one["score"] for one in before["ranking"]}
        again = {order[one["index"]]: one["score"] for one in after["ranking"]}
        assert again == {place: pytest.approx(score, abs=1e-9) for place, score in scores.items()}
        ranked = [one["score"] for one in after["ranking"]]
        assert ranked == sorted(ranked, reverse=True)

    holds()


def test_moses_lists_and_json_lists_rank_the_same(client: TestClient, fuzz: Fuzz) -> None:
    @fuzz(25)
    @given(st.lists(st.tuples(st.lists(st.sampled_from(WORDS[:6]), min_size=1, max_size=5).map(" ".join), numbers),
                    min_size=1, max_size=6))  # fmt: skip
    def holds(rows: list[tuple[str, float]]) -> None:
        moses = "".join(f"0 ||| {text} ||| ac= {score!r} ||| {score!r}\n" for text, score in rows)
        told = client.post("/v1/rescore?models=small", content=moses, headers={"Content-Type": "text/plain"})
        assert told.status_code == 200, told.text
        found = [
            {"text": text, "features": {"ac": score, "total": score}} for text, score in dict.fromkeys(rows)
        ]
        body = {"models": ["small"], "lists": [{"id": "0", "hypotheses": found}]}
        (result,) = client.post("/v1/rescore", json=body).json()["results"]
        order = [line.split(" ||| ")[1] for line in told.text.removesuffix("\n").split("\n")]
        assert order == [one["text"] for one in result["ranking"]]

    holds()
