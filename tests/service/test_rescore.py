# ruff: noqa: E501 - a table reads better with each case on one line

import gzip
import json
import math
import time
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

MakeClient = Callable[..., TestClient]

SPEECH = [
    {"text": "a man is writing", "features": {"ac": -10.0}},
    {"text": "a man is riding", "features": {"ac": -11.0}},
    {"text": "man is riding", "features": {"ac": -11.5}},
]
# Unigram log-probabilities (tests/service/conftest.py): a -1, man -2, is -1.5, writing -5, riding -3, </s> -0.5.
SMALL = [-10.0, -8.0, -7.0]


def one_list(name: str = "u", hypotheses: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return {"id": name, "hypotheses": SPEECH if hypotheses is None else hypotheses}


def post(client: TestClient, path: str = "/v1/rescore", **body: Any) -> Any:
    answer = client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("path", ["/v1/rescore", "/rescore"])
def test_scores_are_the_weighted_sums(client: TestClient, path: str) -> None:
    weights = {"features": {"ac": 1.0, "small": 0.5, "word_count": 0.25}}
    answer = post(client, path, models=["small"], weights=weights, lists=[one_list()])
    (result,) = answer["results"]
    scores = {entry["index"]: entry["score"] for entry in result["ranking"]}
    assert scores == {
        0: -10.0 + 0.5 * -10.0 + 0.25 * 4,
        1: -11.0 + 0.5 * -8.0 + 0.25 * 4,
        2: -11.5 + 0.5 * -7.0 + 0.25 * 3,
    }
    assert [entry["index"] for entry in result["ranking"]] == [0, 1, 2]  # -14.0, -14.0 (the earlier), -14.25
    assert [entry["rank"] for entry in result["ranking"]] == [1, 2, 3]
    assert result["changed"] is False
    first = result["ranking"][1]
    assert first["text"] == "a man is riding"
    assert first["features"] == {"ac": -11.0, "small": -8.0, "small.oov": 0.0, "word_count": 4.0}
    assert "contributions" not in first
    assert "tokens" not in first


def test_options_top_k_contributions_tokens(client: TestClient) -> None:
    answer = post(
        client,
        models=["small"],
        weights={"features": {"ac": 1.0, "small": 2.0}},
        options={"top_k": 1, "contributions": True, "tokens": True},
        lists=[one_list()],
    )
    (result,) = answer["results"]
    (best,) = result["ranking"]
    assert best["index"] == 2
    assert result["changed"] is True
    assert best["contributions"] == {"ac": -11.5, "small": -14.0, "small.oov": 0.0, "word_count": 0.0}
    assert best["score"] == math.fsum(best["contributions"].values()) == -25.5
    tokens = best["tokens"]["small"]
    assert [token["token"] for token in tokens] == ["man", "is", "riding", "</s>"]
    assert math.fsum(token["nat_log_prob"] for token in tokens) == best["features"]["small"]


def test_vector_features_have_a_weight_each(client: TestClient) -> None:
    hypotheses = [
        {"text": "one", "features": {"tm": [-1.0, -5.0], "lm": -2.0}},
        {"text": "two", "features": {"lm": -3.0, "tm": [-2.0, -1.0]}},  # another order of the same features
    ]
    answer = post(
        client, weights={"features": {"tm": [1.0, 0.5], "lm": 2}}, lists=[one_list("v", hypotheses)]
    )
    ranking = answer["results"][0]["ranking"]
    assert [(entry["index"], entry["score"]) for entry in ranking] == [(0, -7.5), (1, -8.5)]
    assert answer["results"][0]["weights"] == {"tm": [1.0, 0.5], "lm": 2.0, "word_count": 0.0}
    assert ranking[1]["features"]["tm"] == [-2.0, -1.0]


def test_named_weights_and_usage_and_signature(client: TestClient) -> None:
    lists = [one_list("one"), one_list("two", SPEECH[:2])]
    answer = post(client, models=["small"], weights="asr", lists=lists)
    usage = answer["usage"]
    assert usage["hypotheses"] == 5
    assert usage["tokens"] == 5 + 5 + 4 + 5 + 5
    assert usage["unique_tokens"] == 5 + 5 + 4
    assert usage["oov_count"] == 0
    assert usage["queue_seconds"] >= 0 <= usage["compute_seconds"]
    parts = answer["signature"].split("|")
    assert parts[0].startswith("nbest:")
    assert "small:sha256:" + "0" * 64 in parts
    assert any(part.startswith("weights:asr:sha256:") for part in parts)
    assert [result["id"] for result in answer["results"]] == ["one", "two"]


def test_signature_changes_with_the_weights_only(client: TestClient) -> None:
    def signed(weight: float) -> str:
        answer = post(client, weights={"features": {"ac": weight}}, lists=[one_list()])
        return str(answer["signature"])

    assert signed(1.0) == signed(1.0) != signed(2.0)


@pytest.mark.parametrize(
    ("features", "models", "order", "words"),
    [
        ([{"total": -1.0}, {"total": -0.5}], [], [1, 0], "ranked by total alone"),
        ([{"total": -1.0}, {"total": -0.5}], ["small"], [0, 1], "ranked by total + small"),
        ([{}, {}], ["small"], [0, 1], "ranked by small alone"),
    ],
)
def test_without_weights_the_stated_default_ranks_and_says_so(
    client: TestClient, features: list[dict[str, float]], models: list[str], order: list[int], words: str
) -> None:
    hypotheses = [{"text": text, "features": f} for text, f in zip(["man", "horse"], features, strict=True)]
    answer = post(client, models=models, lists=[one_list("d", hypotheses)])
    (result,) = answer["results"]
    assert [entry["index"] for entry in result["ranking"]] == order
    assert words in result["warnings"][0]


def test_without_weights_features_without_a_total_are_the_lists_own_error(client: TestClient) -> None:
    hypotheses = [{"text": "man", "features": {"ac": -1.0}}, {"text": "horse", "features": {"ac": -0.5}}]
    answer = post(client, models=["small"], lists=[one_list("d", hypotheses)])
    (result,) = answer["results"]
    assert result["error"]["detail"].startswith("no weights, and the features have no total")
    assert result["error"]["got"] == "ac"


def test_nothing_to_rank_by_is_the_lists_error(client: TestClient) -> None:
    answer = post(client, lists=[one_list()])
    error = answer["results"][0]["error"]
    assert error["type"] == "weights-mismatch"
    assert error["pointer"] == "/lists/0"
    assert "ac" in error["got"]


def test_unknown_features_are_an_error_or_ignored_with_a_warning(client: TestClient) -> None:
    hypotheses = [{"text": "a", "features": {"ac": -1.0, "am2": -9.0}}]
    body = {"weights": {"features": {"ac": 1.0}}, "lists": [one_list("x", hypotheses)]}
    error = post(client, **body)["results"][0]["error"]
    assert error["type"] == "weights-mismatch"
    assert "'am2'" in error["detail"]
    (result,) = post(client, **body, options={"unknown_feature": "ignore"})["results"]
    assert result["ranking"][0]["score"] == -1.0
    assert result["warnings"] == ["features without a weight are ignored: am2"]


def test_weights_for_a_missing_feature_are_the_lists_error(client: TestClient) -> None:
    weights = {"features": {"ac": 1.0, "lm": 2.0}}
    error = post(client, weights=weights, lists=[one_list()])["results"][0]["error"]
    assert error["type"] == "weights-mismatch"
    assert "lm" in json.dumps(error)


def test_lower_casing_is_for_the_model_only(client: TestClient) -> None:
    hypotheses = [{"text": "A MAN", "features": {}}]
    weights = {"features": {"small": 1.0}, "text": "lower"}
    (result,) = post(client, models=["small"], weights=weights, lists=[one_list("l", hypotheses)])["results"]
    assert result["ranking"][0]["text"] == "A MAN"
    assert result["ranking"][0]["features"]["small"] == -3.5
    assert result["ranking"][0]["features"]["small.oov"] == 0


def test_the_text_pipeline_of_a_request(client: TestClient) -> None:
    lists = [one_list("l", [{"text": "<s> A MAN [noise]", "features": {}}])]
    answer = post(client, models=["small"], text="tags,lower", lists=lists)
    (result,) = answer["results"]
    assert result["ranking"][0]["text"] == "<s> A MAN [noise]"
    assert result["ranking"][0]["features"]["small"] == -3.5
    assert answer["signature"].endswith("|text:tags.1,lower.1")
    weights = {"features": {"small": 1.0}, "text": "lower"}
    body = {"models": ["small"], "weights": weights, "text": "tags", "lists": lists}
    refused = client.post("/v1/rescore", json=body)
    assert (refused.status_code, refused.json()["expected"], refused.json()["got"]) == (
        422,
        "'lower.1'",
        "tags.1",
    )
    unknown = client.post("/v1/rescore", json={"models": ["small"], "text": "up", "lists": lists})
    assert (unknown.status_code, unknown.json()["got"]) == (422, "up")
    text = client.post(
        "/rescore?models=small&text=lower", content="0 ||| A MAN ||| d= 1 ||| 0\n", headers=TEXT
    )
    assert " small= -3.5 " in text.text
    assert text.headers["X-Nbest-Signature"].endswith("|text:lower.1")


def test_two_models_score_together(client: TestClient) -> None:
    weights = {"features": {"small": 1.0, "local": 2.0}}
    lists = [one_list("m", [{"text": "a man", "features": {}}])]
    (result,) = post(client, models=["small", "local"], weights=weights, lists=lists)["results"]
    assert result["ranking"][0]["score"] == 3 * -3.5


def test_an_empty_hypothesis_is_scored(client: TestClient) -> None:
    weights = {"features": {"small": 1.0}}
    lists = [one_list("e", [{"text": "man", "features": {}}, {"text": "", "features": {}}])]
    (result,) = post(client, models=["small"], weights=weights, lists=lists)["results"]
    assert [(entry["text"], entry["score"]) for entry in result["ranking"]] == [("", -0.5), ("man", -2.5)]


def test_context_and_references_are_taken_and_said_to_be_unused(client: TestClient) -> None:
    lists = [{**one_list(), "context": ["before"], "references": ["a man"]}]
    (result,) = post(client, weights={"features": {"ac": 1.0}}, lists=lists)["results"]
    assert result["ranking"][0]["index"] == 0
    assert result["warnings"] == ["the context is not used: no model scores these texts"]


GOOD = json.dumps(one_list("good"))
BAD_LISTS = {
    "nan": ('{"id": "x", "hypotheses": [{"text": "a", "features": {"ac": NaN}}]}', "non-finite-feature", "/hypotheses/0/features/ac"),
    "infinity": ('{"id": "x", "hypotheses": [{"text": "a", "features": {"ac": -Infinity}}]}', "non-finite-feature", "/hypotheses/0/features/ac"),
    "1e999": ('{"id": "x", "hypotheses": [{"text": "a", "features": {"ac": [1, 1e999]}}]}', "non-finite-feature", "/hypotheses/0/features/ac"),
    "huge integer": ('{"id": "x", "hypotheses": [{"text": "a", "features": {"ac": 1' + "0" * 400 + "}}]}", "non-finite-feature", "/hypotheses/0/features/ac"),
    "empty list": ('{"id": "x", "hypotheses": []}', "invalid-format", "/hypotheses"),
    "ragged": ('{"id": "x", "hypotheses": [{"text": "a", "features": {"ac": 1}}, {"text": "b", "features": {}}]}', "invalid-feature", "/hypotheses/1/features"),
    "other feature": ('{"id": "x", "hypotheses": [{"text": "a", "features": {"ac": 1}}, {"text": "b", "features": {"am": 1}}]}', "invalid-feature", "/hypotheses/1/features"),
    "other width": ('{"id": "x", "hypotheses": [{"text": "a", "features": {"ac": 1}}, {"text": "b", "features": {"ac": [1, 2]}}]}', "invalid-feature", "/hypotheses/1/features/ac"),
    "number as text": ('{"id": "x", "hypotheses": [{"text": "a", "features": {"ac": "1"}}]}', "invalid-format", "/hypotheses/0/features/ac"),
    "true": ('{"id": "x", "hypotheses": [{"text": "a", "features": {"ac": true}}]}', "invalid-format", "/hypotheses/0/features/ac"),
    "text missing": ('{"id": "x", "hypotheses": [{"features": {"ac": 1}}]}', "invalid-format", "/hypotheses/0/text"),
    "text a number": ('{"id": "x", "hypotheses": [{"text": 7, "features": {"ac": 1}}]}', "invalid-format", "/hypotheses/0/text"),
    "two lines": ('{"id": "x", "hypotheses": [{"text": "a\\nb", "features": {"ac": 1}}]}', "invalid-format", "/hypotheses/0/text"),
    "lone surrogate": ('{"id": "x", "hypotheses": [{"text": "\\ud800", "features": {"ac": 1}}]}', "invalid-format", "/hypotheses/0/text"),
    "surrogate feature": ('{"id": "x", "hypotheses": [{"text": "a", "features": {"\\udfff": 1}}]}', "invalid-format", "/hypotheses/0/features"),
    "unknown field": ('{"id": "x", "hypotheses": [{"text": "a", "features": {"ac": 1}, "fetaures": {}}]}', "invalid-format", "/hypotheses/0/fetaures"),
    "unknown field of the list": ('{"id": "x", "hyps": [], "hypotheses": [{"text": "a", "features": {"ac": 1}}]}', "invalid-format", "/hyps"),
    "id missing": ('{"hypotheses": [{"text": "a", "features": {"ac": 1}}]}', "invalid-format", "/id"),
    "id empty": ('{"id": "", "hypotheses": [{"text": "a", "features": {"ac": 1}}]}', "invalid-format", "/id"),
    "NaN of a surrogate": ('{"id": "x", "hypotheses": [{"text": "a", "features": {"\\ud800": NaN}}]}', "non-finite-feature", None),
    "ragged with a surrogate": ('{"id": "x", "hypotheses": [{"text": "a", "features": {"\\ud800": 1}}, {"text": "b", "features": {}}]}', "invalid-feature", None),
    "unknown surrogate": ('{"id": "x", "\\ud800": 1, "hypotheses": [{"text": "a", "features": {"ac": 1}}]}', "invalid-format", "/\\ud800"),
    "id a surrogate": ('{"id": "\\ud800", "hypotheses": [{"text": "a", "features": {"ac": 1}}]}', "invalid-format", "/id"),
    "not an object": ("[]", "invalid-format", ""),
    "null": ("null", "invalid-format", ""),
    "duplicate id": (GOOD, "invalid-format", "/id"),
    "sum overflows": ('{"id": "x", "hypotheses": [{"text": "a", "features": {"ac": 1e308, "b": 1e308}}]}', "weights-mismatch", None),
    "slash in the name": ('{"id": "x", "hypotheses": [{"text": "a", "features": {"a/c~": NaN}}]}', "non-finite-feature", "/hypotheses/0/features/a~1c~0"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_LISTS)
def test_a_bad_list_is_its_own_error_and_the_others_are_answered(client: TestClient, case: str) -> None:
    bad, kind, where = BAD_LISTS[case]
    body = (
        f'{{"weights": {{"features": {{"ac": 1}}}}, "lists": [{GOOD}, {bad}, {GOOD.replace("good", "too")}]}}'
    )
    answer = client.post("/v1/rescore", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 200, answer.text
    first, wrong, last = answer.json()["results"]
    assert (
        [entry["index"] for entry in first["ranking"]] == [0, 1, 2] == [e["index"] for e in last["ranking"]]
    )
    assert wrong["error"]["type"] == kind
    assert "ranking" not in wrong
    if where is not None:
        assert wrong["error"]["pointer"] == f"/lists/1{where}"
    assert wrong["error"]["detail"]


BAD_ENVELOPES = {
    "empty body": (b"", 400, "invalid-format", None),
    "not JSON": (b"{", 400, "invalid-format", None),
    "an array": (b"[]", 422, "invalid-request", None),
    "no lists": (b"{}", 422, "invalid-request", ""),
    "lists empty": (b'{"lists": []}', 422, "invalid-request", "/lists"),
    "lists an object": (b'{"lists": {}}', 422, "invalid-request", "/lists"),
    "unknown field": (b'{"lists": [1], "model": "small"}', 422, "invalid-request", "/model"),
    "models a string": (b'{"lists": [1], "models": "small"}', 422, "invalid-request", "/models"),
    "model a number": (b'{"lists": [1], "models": [1]}', 422, "invalid-request", "/models/0"),
    "model a surrogate": (b'{"lists": [1], "models": ["\\ud800"]}', 404, "not-found", None),
    "unknown model": (b'{"lists": [1], "models": ["big"]}', 404, "not-found", None),
    "path as model": (b'{"lists": [1], "models": ["../models/local"]}', 404, "not-found", None),
    "absolute path as model": (b'{"lists": [1], "models": ["/etc"]}', 404, "not-found", None),
    "model twice": (b'{"lists": [1], "models": ["small", "small"]}', 422, "invalid-configuration", "/models"),
    "corrupt model": (b'{"lists": [1], "models": ["broken"]}', 503, "invalid-model-file", None),
    "unknown weights": (b'{"lists": [1], "weights": "mt"}', 404, "not-found", None),
    "path as weights": (b'{"lists": [1], "weights": "../weights/asr"}', 404, "not-found", None),
    "weights a number": (b'{"lists": [1], "weights": 3}', 422, "invalid-request", "/weights"),
    "weights without features": (b'{"lists": [1], "weights": {}}', 422, "invalid-request", "/weights"),
    "no features": (b'{"lists": [1], "weights": {"features": {}}}', 422, "invalid-request", "/weights/features"),
    "NaN weight": (b'{"lists": [1], "weights": {"features": {"a": NaN}}}', 422, "non-finite-feature", "/weights/features/a"),
    "text weight": (b'{"lists": [1], "weights": {"features": {"a": "1"}}}', 422, "invalid-request", "/weights/features/a"),
    "weight of a surrogate": (b'{"lists": [1], "weights": {"features": {"\\ud800": 1}}}', 400, "invalid-format", "/weights/features"),
    "pipeline a surrogate": (b'{"lists": [1], "weights": {"features": {"a": 1}, "text": "\\ud800"}}', 422, "invalid-configuration", None),
    "unknown pipeline": (b'{"lists": [1], "weights": {"features": {"a": 1}, "text": "upper"}}', 422, "invalid-configuration", None),
    "top_k zero": (b'{"lists": [1], "options": {"top_k": 0}}', 422, "invalid-request", "/options/top_k"),
    "top_k a float": (b'{"lists": [1], "options": {"top_k": 1.5}}', 422, "invalid-request", "/options/top_k"),
    "unknown option": (b'{"lists": [1], "options": {"topk": 1}}', 422, "invalid-request", "/options/topk"),
    "unknown choice": (b'{"lists": [1], "options": {"unknown_feature": "drop"}}', 422, "invalid-request", "/options/unknown_feature"),
    "infinite deadline": (b'{"lists": [1], "options": {"deadline_seconds": Infinity}}', 422, "non-finite-feature", "/options/deadline_seconds"),
    "negative deadline": (b'{"lists": [1], "options": {"deadline_seconds": -1}}', 422, "invalid-request", "/options/deadline_seconds"),
    "invalid UTF-8": (b'{"lists": ["\xff"]}', 400, "invalid-format", None),
    "key twice": (b'{"lists": [1], "lists": [2]}', 400, "invalid-format", None),
    "nested": (b'{"lists": ' + b"[" * 50_000 + b"]" * 50_000 + b"}", 400, "invalid-format", None),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_ENVELOPES)
def test_a_bad_envelope_is_a_problem_document(client: TestClient, case: str) -> None:
    body, status, kind, where = BAD_ENVELOPES[case]
    answer = client.post("/v1/rescore", content=body, headers={"Content-Type": "application/json"})
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (answer.status_code, problem["status"], problem["type"]) == (status, status, kind), problem
    assert problem["title"]
    assert problem["detail"]
    if where:
        assert problem["pointer"] == where


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content-Type": "application/json; charset=latin-1"}, 415),
        ({"Content-Type": "application/json; charset=UTF-8"}, 200),
        ({"Content-Type": "APPLICATION/JSON"}, 200),
        ({"Content-Encoding": "br"}, 415),
        ({"Content-Encoding": "gzip"}, 400),
    ],
)
def test_content_types_and_encodings(client: TestClient, headers: dict[str, str], status: int) -> None:
    body = json.dumps({"weights": {"features": {"ac": 1}}, "lists": [one_list()]}).encode()
    assert client.post("/v1/rescore", content=body, headers=headers).status_code == status


def test_two_lists_of_one_id_are_told_apart_by_both_places(client: TestClient) -> None:
    answer = post(
        client, weights={"features": {"ac": 1}}, lists=[one_list("a"), one_list("b"), one_list("a")]
    )
    first, _, second = answer["results"]
    assert "ranking" in first
    assert second == {
        "id": "a",
        "error": {
            "type": "invalid-format",
            "detail": "the list id stands twice in the request, first at /lists/0",
            "pointer": "/lists/2/id",
            "expected": "each id once",
            "got": "a",
        },
    }


@pytest.mark.parametrize("names", [["small"] * 10_000, [f"m{k}" for k in range(10_000)]])
def test_thousands_of_models_are_refused_in_linear_time(client: TestClient, names: list[str]) -> None:
    answer = client.post("/rescore", json={"models": names, "lists": [one_list()]})
    assert (answer.status_code, answer.json()["pointer"]) == (422, "/models")
    assert answer.json()["expected"] == "at most 100"
    began = time.perf_counter()
    text = client.post(f"/rescore?models={','.join(names)}", content=MOSES, headers=TEXT)
    assert text.status_code in {404, 422}
    assert time.perf_counter() - began < 1  # 5 ms; 3 s were each name counted anew


@pytest.mark.parametrize(
    "features",
    [{"ac": [1.0] * 1_000_000}, {f"f{k}": 1.0 for k in range(15_000)}],
    ids=["values", "names"],
)
def test_a_hypothesis_of_too_many_values_is_refused(client: TestClient, features: dict[str, Any]) -> None:
    lists = [one_list("wide", [{"text": "a", "features": features}]), one_list("good")]
    wide, good = post(client, weights={"features": {"ac": 1.0}}, lists=lists)["results"]
    assert wide["error"]["type"] == "limit-exceeded"
    assert wide["error"]["pointer"] == "/lists/0/hypotheses/0/features"
    assert wide["error"]["expected"] == "at most 5000"
    assert "ranking" in good


def test_a_moses_line_of_a_million_values_is_refused_before_it_is_read(client: TestClient) -> None:
    body = MOSES + "9 ||| a ||| LM0= " + "1 " * 1_000_000 + "||| 1\n"
    began = time.perf_counter()
    answer = client.post("/rescore", content=body, headers=TEXT)
    assert time.perf_counter() - began < 3  # 0.1 s; reading it takes 4 s
    assert (answer.status_code, answer.json()["got"]) == (413, "1000000")
    assert answer.json()["detail"] == "body:4: too many feature values"


def test_the_widest_moses_line_that_is_allowed(make_client: MakeClient) -> None:
    client = make_client(max_features=3)
    assert client.post("/rescore", content=MOSES, headers=TEXT).status_code == 200
    wider = MOSES.replace("TM0= -4 -2", "TM0= -4 -2 -1")
    assert client.post("/rescore", content=wider, headers=TEXT).status_code == 413


def test_weights_of_too_many_values_are_refused(client: TestClient) -> None:
    weights = {"features": {"ac": [1.0] * 6000}}
    answer = client.post("/rescore", json={"weights": weights, "lists": [one_list()]})
    assert (answer.status_code, answer.json()["pointer"]) == (413, "/weights/features")


def test_more_moses_lines_than_hypotheses_are_allowed(make_client: MakeClient) -> None:
    answer = make_client(max_hypotheses=2).post("/rescore", content=MOSES, headers=TEXT)
    assert (answer.status_code, answer.json()["expected"]) == (413, "at most 2")


@pytest.mark.parametrize("depth", range(930, 1010, 3))
def test_deep_nesting_where_a_number_should_stand_is_refused(client: TestClient, depth: int) -> None:
    deep = "[" * depth + "]" * depth
    body = f'{{"lists": [{{"id": "x", "hypotheses": [{{"text": "a", "features": {{"ac": {deep}}}}}]}}]}}'
    answer = client.post("/v1/rescore", content=body, headers={"Content-Type": "application/json"})
    if answer.status_code == 200:
        assert answer.json()["results"][0]["error"]["type"] == "invalid-format"
    else:
        assert (answer.status_code, answer.json()["type"]) == (400, "invalid-format")


WORDS = {
    "an array": ("[]", "", "wrong type", "an object", "an array of 0 entries"),
    "number one": ("1", "", "wrong type", "an object", "1"),
    "models one": ('{"lists": [1], "models": [1]}', "/models/0", "wrong type", "a string", "1"),
    "zero": ('{"lists": [1], "models": [0]}', "/models/0", "wrong type", "a string", "0"),
    "one point nought": ('{"lists": [1], "models": [1.0]}', "/models/0", "wrong type", "a string", "1.0"),
    "true": ('{"lists": [1], "models": [true]}', "/models/0", "wrong type", "a string", "true"),
    "null": ('{"lists": [1], "models": [null]}', "/models/0", "wrong type", "a string", "null"),
    "models a string": ('{"lists": [1], "models": "m"}', "/models", "wrong type", "an array", "the string 'm'"),
    "options": ('{"lists": [1], "options": [1]}', "/options", "wrong type", "an object", "an array of 1 entry"),
    "weights": ('{"lists": [1], "weights": 1}', "/weights", "wrong type", "a string or an object", "1"),
    "weights empty": ('{"lists": [1], "weights": {}}', "/weights", "missing field 'features'", "a field 'features'", "none"),
    "weights field": ('{"lists": [1], "weights": {"features": {"a": 1}, "x~/": 1}}', "/weights/x~0~1", "unknown field", "one of features, text, format, models, sparse, tuned, tuning", "x~/"),
    "a feature called int": ('{"lists": [1], "weights": {"features": {"int": "1"}}}', "/weights/features/int", "wrong type", "a finite number or an array of them", "the string '1'"),
    "top_k": ('{"lists": [1], "options": {"top_k": 0}}', "/options/top_k", "number out of range", "at least 1", "0"),
    "top_k beyond": ('{"lists": [1], "options": {"top_k": 99999999999999999999}}', "/options/top_k", "number out of range", "at most 2147483647", "99999999999999999999"),
    "contributions": ('{"lists": [1], "options": {"contributions": 1}}', "/options/contributions", "wrong type", "true or false", "1"),
    "deadline": ('{"lists": [1], "options": {"deadline_seconds": "1"}}', "/options/deadline_seconds", "wrong type", "a number", "the string '1'"),
    "unknown field": ('{"lists": [1], "model": 1}', "/model", "unknown field", "one of models, weights, text, options, lists", "model"),
    "a key of 300,000 characters": ('{"lists": [1], "' + "x" * 300_000 + '": 1}', "", "unknown field", "one of models, weights, text, options, lists", f"{'x' * 80}… (300000 characters)"),
    "a surrogate for a key": ('{"lists": [1], "\\ud800": 1}', "/\\ud800", "unknown field", "one of models, weights, text, options, lists", "\\ud800"),
    "a surrogate for a weight": ('{"lists": [1], "weights": {"features": {"\\ud800": "x"}}}', "/weights/features", "wrong type", "a finite number or an array of them", "the string 'x'"),
}  # fmt: skip


@pytest.mark.parametrize("case", WORDS)
def test_complaints_are_in_plain_words(client: TestClient, case: str) -> None:
    body, where, detail, expected, got = WORDS[case]
    answer = client.post("/v1/rescore", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["detail"]) == (422, detail)
    found = answer.json()
    assert (found.get("pointer", ""), found["expected"], found["got"]) == (where, expected, got)


def test_a_service_without_models_says_so(world: Any) -> None:
    from service.app import create_app

    app = create_app(world.settings(models=None, weights=None), opener=world.open_scorer, shipped=[])
    with TestClient(app) as client:
        model = client.post("/rescore", json={"models": ["a"], "lists": [one_list()]}).json()
        weights = client.post("/rescore", json={"weights": "a", "lists": [one_list()]}).json()
    assert (model["detail"], model["expected"]) == ("no such model", "no model: the service has none")
    assert (weights["detail"], weights["expected"]) == (
        "no such weight set",
        "no weight set: the service has none",
    )


def test_limits(make_client: MakeClient) -> None:
    client = make_client(max_lists=2, max_hypotheses=4, max_text_bytes=20, max_body_bytes=2000)
    weights = {"features": {"ac": 1.0}}
    fits = {"weights": weights, "lists": [one_list("1"), one_list("2", SPEECH[:1])]}
    assert client.post("/rescore", json=fits).status_code == 200
    lists = [one_list(str(n), SPEECH[:1]) for n in range(3)]
    too_many = client.post("/rescore", json={"weights": weights, "lists": lists})
    assert (too_many.status_code, too_many.json()["expected"]) == (413, "at most 2")
    hypotheses = client.post("/rescore", json={"weights": weights, "lists": [one_list("1"), one_list("2")]})
    assert (hypotheses.status_code, hypotheses.json()["got"]) == (413, "6")
    long = one_list("1", [{"text": "ä" * 11, "features": {"ac": 1.0}}])
    (result,) = client.post("/rescore", json={"weights": weights, "lists": [long]}).json()["results"]
    assert result["error"]["type"] == "limit-exceeded"
    assert result["error"]["pointer"] == "/lists/0/hypotheses/0/text"
    large = gzip.compress(json.dumps({"lists": [" " * 3000]}).encode())
    assert len(large) < 2000
    answer = client.post("/rescore", content=large, headers={"Content-Encoding": "gzip"})
    assert (answer.status_code, answer.json()["type"]) == (413, "limit-exceeded")


MOSES = (
    "0 ||| a man is writing  ||| LM0= -12.1 TM0= -4 -2 ||| -4.2\n"
    "0 ||| a man is riding  ||| LM0= -13.0 TM0= -4 -1 ||| -4.1 ||| 0-0 1-1\n"
    "7 ||| horse ||| LM0= -3.0 TM0= -1 -1 ||| -1.5\n"
)
TEXT = {"Content-Type": "text/plain"}


@pytest.mark.parametrize("packed", [False, True])
def test_moses_in_moses_out(client: TestClient, packed: bool) -> None:
    body = gzip.compress(MOSES.encode()) if packed else MOSES.encode()
    headers = {**TEXT, **({"Content-Encoding": "gzip"} if packed else {})}
    answer = client.post("/rescore?models=small", content=body, headers=headers)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert "decoder_total + small" in answer.headers["x-nbest-warnings"]
    assert "small:sha256:" in answer.headers["x-nbest-signature"]
    lines = answer.text.split("\n")
    first = lines[0].split(" ||| ")
    assert first[:3] == [
        "0",
        "a man is riding ",
        "LM0= -13.0 TM0= -4 -1 small= -8 small.oov= 0 word_count= 4",
    ]
    assert first[4] == "0-0 1-1"
    weight = (0.05 / 1) ** (1 / 3)  # untuned: standard deviations of total and model in a list of two
    assert float(first[3]) == pytest.approx(-4.1 - 8 * weight)
    assert float(lines[1].split(" ||| ")[3]) == pytest.approx(-4.2 - 10 * weight)
    assert lines[2].startswith("7 ||| horse ")
    assert lines[3] == ""


def test_moses_options_in_the_query(client: TestClient, world: Any) -> None:
    weights = {"format": "nbest-weights/1", "features": {"LM0": 1.0, "TM0": [0.0, -1.0]}}
    (world.weights / "mt.json").write_text(json.dumps(weights))
    answer = client.post("/rescore?weights=mt&top_k=1", content=MOSES, headers=TEXT)
    assert answer.status_code == 200, answer.text
    lines = answer.text.rstrip("\n").split("\n")
    assert [line.split(" ||| ")[0] for line in lines] == ["0", "7"]
    assert lines[0].split(" ||| ")[3] == "-10.1"
    assert "x-nbest-warnings" not in answer.headers


def test_moses_in_json_out(client: TestClient) -> None:
    answer = client.post(
        "/rescore?models=small,local", content=MOSES, headers={**TEXT, "Accept": "application/json"}
    )
    results = answer.json()["results"]
    assert [(result["id"], result["ranking"][0]["index"]) for result in results] == [("0", 1), ("7", 0)]
    assert results[0]["ranking"][0]["features"]["TM0"] == [-4.0, -1.0]


@pytest.mark.parametrize(
    ("body", "query", "status", "words"),
    [
        ("", "", 400, "empty body"),
        ("0 ||| a ||| LM0= 1", "", 400, "body:1"),
        (MOSES + "0 ||| b ||| LM0= x TM0= 1 2 ||| 3\n", "", 400, "body:4"),
        (MOSES.replace("-13.0", "nan"), "", 422, "body:2"),
        (MOSES.encode() + b"0 ||| \xff ||| LM0= 1 TM0= 1 1 ||| 1\n", "", 400, "body:4"),
        (MOSES, "?models=big", 404, '"big"'),
        (MOSES, "?weights=asr", 422, "LM0"),
        (MOSES, "?model=small", 422, '"model"'),
        (MOSES, "?weights=a&weights=b", 422, "twice"),
        (MOSES, "?top_k=many", 422, "many"),
        (MOSES, "?top_k=99999999999999999999", 422, "at most 2147483647"),
        (MOSES, "?unknown_feature=drop", 422, '"drop"'),
        ("0 ||| " + "a " * 1_000_000 + "||| LM0= 1 ||| 2\n", "", 413, "too long"),
        ("x" * 10_000_000, "", 400, "body:1"),
    ],
    ids=range(14),
)
def test_bad_moses_bodies(client: TestClient, body: str | bytes, query: str, status: int, words: str) -> None:
    answer = client.post(f"/rescore{query}", content=body, headers=TEXT)
    assert answer.status_code == status, answer.text
    assert words in json.dumps(answer.json(), ensure_ascii=False)


def tuned(**changes: Any) -> dict[str, Any]:
    """A weight set as `nbest tune` writes it, of the model that these tests have."""
    return {
        "format": "nbest-weights/1",
        "features": {"ac": 1.0, "small": 9.0},
        "models": [{"name": "small", "digest": "sha256:" + "0" * 64}],
        "text": "raw",
        "tuned": True,
        "tuning": {
            "metric": "wer", "signature": "s", "score": 7.5, "lists_sha256": "1", "references_sha256": "2",
            "optimizer": "mert", "restarts": 20, "seed": 1,
        },
        **changes,
    }  # fmt: skip


def test_a_weight_set_may_come_whole_with_the_request(client: TestClient, world: Any) -> None:
    (world.weights / "tuned.json").write_text(json.dumps(tuned()))
    by_name, whole, bare = (
        post(client, models=["small"], weights=weights, lists=[one_list()])
        for weights in ("tuned", tuned(), {"features": tuned()["features"]})
    )
    assert whole["results"] == by_name["results"] == bare["results"]
    assert whole["signature"] == by_name["signature"].replace("weights:tuned:", "weights:inline:")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"models": [{"name": "small", "digest": "sha256:1"}]}, "another version"),
        ({"models": [{"name": "big", "digest": "sha256:1"}]}, "models without a weight"),
        ({"models": [{"name": "small"}]}, "/weights/models/0"),
        ({"format": "nbest-weights/9"}, "/weights/format"),
        ({"tuned": False}, "/weights/tuned"),
        ({"tuning": {"metric": "wer"}}, "/weights/tuning"),
        ({"features": {"ac": 1.0}, "x": 1}, "/weights/x"),
    ],
)
def test_a_weight_set_of_the_request_is_checked(
    client: TestClient, changes: dict[str, Any], words: str
) -> None:
    answer = client.post(
        "/rescore", json={"models": ["small"], "weights": tuned(**changes), "lists": [one_list()]}
    )
    assert answer.status_code == 422
    assert words in answer.text
    assert "memory" not in answer.text


def test_an_unknown_query_parameter_is_not_called_json(client: TestClient) -> None:
    answer = client.post("/rescore?model=small", content=MOSES, headers=TEXT).json()
    assert (answer["type"], "JSON" in answer["title"]) == ("invalid-request", False)
