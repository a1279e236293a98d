# ruff: noqa: E501 - a table reads better with each case on one line

"""Weight sets over HTTP: versions, conditions, names that want out, files that are not the service's."""

import json
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from nbest.errors import NbestError
from nbest.locked import locked
from rescoring.weights import WeightSet, parse_weights, read_weights, write_weights
from service.conditions import Conditions, parse_conditions
from service.errors import InvalidRequestError, PreconditionFailedError, PreconditionMissingError
from service.weight_sets import WeightSets, tag_of

MakeClient = Callable[..., TestClient]
ANY = {"If-Match": "*"}


def weights(value: float = 1.0, **more: Any) -> dict[str, Any]:
    return {"format": "nbest-weights/1", "features": {"ac": value}, **more}


def put(client: TestClient, name: str, value: float = 1.0, **headers: str) -> Any:
    return client.put(f"/v1/weights/{name}", json=weights(value), headers=headers)


def files(world: Any) -> set[str]:
    return {path.name for path in world.weights.iterdir()}


def test_what_is_put_is_read_ranked_with_versioned_and_taken_away(client: TestClient, world: Any) -> None:
    made = put(client, "mt")
    assert (made.status_code, made.json()["version"], made.json()["changed"]) == (201, 1, True)
    assert made.headers["content-location"] == "/v1/weights/mt@1"
    assert made.json()["etag"] == made.headers["etag"]
    second = put(client, "mt", 2.0, **{"If-Match": made.headers["etag"]})
    assert (second.status_code, second.json()["version"]) == (200, 2)
    assert files(world) == {"asr.json", "mt.json", "mt@1.json", "mt@2.json"}

    read = client.get("/v1/weights/mt")
    assert (read.headers["etag"], read.headers["cache-control"]) == (second.headers["etag"], "no-cache")
    assert read.json()["features"] == {"ac": 2.0}
    assert client.get("/v1/weights/mt@1").json()["features"] == {"ac": 1.0}
    same = client.get("/v1/weights/mt", headers={"If-None-Match": f'"x", W/{read.headers["etag"]}'})
    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", read.headers["etag"])

    body = {"lists": [{"id": "u", "hypotheses": [{"text": "a", "features": {"ac": -3.0}}]}]}
    for name, score in (("mt", -6.0), ("mt@1", -3.0), ("mt@2", -6.0)):
        answer = client.post("/v1/rescore", json={**body, "weights": name}).json()
        assert answer["results"][0]["ranking"][0]["score"] == score
        assert f"|weights:{name}:sha256:" in answer["signature"]
    assert client.get("/v1/models").json()["weights"] == ["asr", "mt"]  # versions are not names of their own

    gone = client.delete("/v1/weights/mt", headers={"If-Match": read.headers["etag"]})
    assert (gone.status_code, gone.content) == (204, b"")
    assert client.get("/v1/weights/mt").status_code == 404
    assert client.get("/v1/weights/mt@2").json()["features"] == {"ac": 2.0}
    assert put(client, "mt", 3.0).json()["version"] == 3  # a number is never used twice


def test_what_is_kept_is_as_tune_writes_it(client: TestClient, world: Any, tmp_path: Path) -> None:
    tuning = {
        "metric": "bleu", "signature": "s", "score": 40.5, "lists_sha256": "0", "references_sha256": "1",
        "optimizer": "mert", "restarts": 20, "seed": 1, "runs": [40.5, 40.25],
    }  # fmt: skip
    model = {"name": "small", "digest": "sha256:" + "0" * 64}
    features = {"LM0": [0.5], "TM": [0.25, -1e-17], "small": 1, "é": 2}
    document = weights(features=features, models=[model], tuned=True, tuning=tuning, text="lower")
    assert client.put("/v1/weights/mt", content=json.dumps(document)).status_code == 201
    write_weights(parse_weights(json.dumps(document)), tmp_path / "expected.json")
    expected = (tmp_path / "expected.json").read_bytes()
    assert (world.weights / "mt.json").read_bytes() == expected == client.get("/v1/weights/mt").content
    assert read_weights(world.weights / "mt.json") == parse_weights(json.dumps(document))


def test_a_change_needs_to_say_what_it_changes(client: TestClient, world: Any) -> None:
    first = put(client, "mt").headers["etag"]
    blind = put(client, "mt", 2.0)
    assert (blind.status_code, blind.json()["type"]) == (428, "precondition-required")
    assert first in blind.json()["expected"]
    second = put(client, "mt", 2.0, **{"If-Match": first}).headers["etag"]
    late = put(client, "mt", 3.0, **{"If-Match": first})
    assert (late.status_code, late.json()["type"], late.json()["got"]) == (
        412,
        "precondition-failed",
        second.strip('"'),
    )
    weak = put(client, "mt", 3.0, **{"If-Match": f"W/{second}"})
    assert weak.status_code == 412  # a weak tag never matches here
    assert put(client, "new", **ANY).status_code == 412  # nothing is there that could match
    only_new = put(client, "mt", 3.0, **{"If-None-Match": "*"})
    assert only_new.status_code == 412
    assert put(client, "other", **{"If-None-Match": "*"}).status_code == 201
    assert client.delete("/v1/weights/mt").status_code == 428
    assert client.delete("/v1/weights/mt", headers={"If-Match": first}).status_code == 412
    assert client.delete("/v1/weights/nosuch", headers=ANY).status_code == 404
    assert client.get("/v1/weights/mt").headers["etag"] == second
    assert "new.json" not in files(world)


def test_a_retry_changes_nothing(client: TestClient, world: Any) -> None:
    first = put(client, "mt")
    again = put(client, "mt")
    assert (again.status_code, again.json()["changed"], again.json()["version"]) == (200, False, 1)
    put(client, "mt", 2.0, **{"If-Match": first.headers["etag"]})
    retried = put(client, "mt", 2.0, **{"If-Match": first.headers["etag"]})  # its first answer was lost
    assert (retried.status_code, retried.json()["changed"], retried.json()["version"]) == (200, False, 2)
    assert files(world) == {"asr.json", "mt.json", "mt@1.json", "mt@2.json"}


def test_what_was_put_there_by_hand_becomes_a_version(client: TestClient, world: Any) -> None:
    by_hand = (world.weights / "asr.json").read_bytes()
    read = client.get("/v1/weights/asr")
    assert read.content == by_hand
    assert "content-location" not in read.headers
    assert put(client, "asr", 5.0, **{"If-Match": read.headers["etag"]}).json()["version"] == 2
    assert (world.weights / "asr@1.json").read_bytes() == by_hand
    (world.weights / "asr.json").write_text(json.dumps(weights(6.0)))  # edited since
    assert put(client, "asr", 7.0, **ANY).json()["version"] == 4
    assert client.get("/v1/weights/asr@3").json()["features"] == {"ac": 6.0}


def test_old_versions_can_be_taken_away_and_the_newest_not(client: TestClient, world: Any) -> None:
    for value in (1.0, 2.0, 3.0):
        put(client, "mt", value, **(ANY if value > 1 else {}))
    newest = client.delete("/v1/weights/mt@3", headers=ANY)
    assert (newest.status_code, newest.json()["type"]) == (409, "conflict")
    assert client.delete("/v1/weights/mt@1", headers=ANY).status_code == 204
    assert files(world) == {"asr.json", "mt.json", "mt@2.json", "mt@3.json"}


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("%2e%2e%2fescaped", 404), ("..%2fescaped", 404), ("%2e%2e", 409), ("%2e", 409), ("a%2fb", 404),
        ("a%00b", 409), ("a%0d%0aX-Injected:%20yes", 409), (".hidden", 409), ("-a", 409), ("mt@7", 409),
        ("a%20b", 409), ("a|b", 409), ("a:b", 409), ("%ff", 409), ("%c3%a9", 409), ("a" * 101, 409),
        ("a" * 5000, 409), ("..%5cescaped", 409), ("~root", 409),
    ],
)  # fmt: skip
def test_no_name_leaves_its_directory(client: TestClient, world: Any, path: str, status: int) -> None:
    before = sorted(one for one in world.weights.parent.rglob("*"))
    answer = client.put(f"/v1/weights/{path}", json=weights())
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert "x-injected" not in answer.headers
    for method in ("GET", "DELETE"):
        assert client.request(method, f"/v1/weights/{path}", headers=ANY).status_code == 404
    assert sorted(one for one in world.weights.parent.rglob("*")) == before


def test_names_that_are_read_are_not_looked_for_elsewhere(
    client: TestClient, world: Any, tmp_path: Path
) -> None:
    (tmp_path / "secret.json").write_text(json.dumps(weights(99.0)))
    body = {"lists": [{"id": "u", "hypotheses": [{"text": "a", "features": {"ac": -3.0}}]}]}
    for name in ("../secret", str(tmp_path / "secret"), "..", ".", "", "\0", "asr\0", "x" * 5000, "\ud800"):
        answer = client.post("/v1/rescore", content=json.dumps({**body, "weights": name}))
        assert answer.status_code in (404, 422), name
        assert "99" not in answer.text


def test_links_are_read_but_never_written_through(client: TestClient, world: Any, tmp_path: Path) -> None:
    outside = tmp_path / "outside.json"
    outside.write_text(json.dumps(weights(4.0)))
    (world.weights / "linked.json").symlink_to(outside)  # as a mounted ConfigMap has them
    (world.weights / "dangling.json").symlink_to(tmp_path / "nothing.json")
    (world.weights / "folder.json").mkdir()
    os.mkfifo(world.weights / "pipe.json")
    assert client.get("/v1/weights/linked").json()["features"] == {"ac": 4.0}
    for name in ("linked", "dangling", "folder", "pipe"):
        answer = client.put(f"/v1/weights/{name}", json=weights(5.0), headers=ANY)
        assert (answer.status_code, answer.json()["type"]) == (409, "conflict"), name
        assert str(tmp_path) not in answer.text
    assert client.delete("/v1/weights/linked", headers=ANY).status_code == 409
    assert json.loads(outside.read_text()) == weights(4.0)
    assert not (tmp_path / "nothing.json").exists()
    assert client.get("/v1/weights/pipe").status_code == 404  # and nobody waits for a writer


def test_a_version_that_is_a_link_is_not_written_through(
    client: TestClient, world: Any, tmp_path: Path
) -> None:
    put(client, "mt")
    (world.weights / "mt@2.json").symlink_to(tmp_path / "nothing.json")
    put(client, "mt", 2.0, **ANY)
    assert not (tmp_path / "nothing.json").exists()
    assert client.get("/v1/weights/mt").status_code == 200


@pytest.mark.parametrize(
    ("body", "status", "kind", "pointer"),
    [
        (b"", 400, "invalid-format", None),
        (b"[]", 422, "weights-mismatch", None),
        (b"{", 400, "invalid-format", None),
        (b"\xff", 400, "invalid-format", None),
        (b'{"features": {"ac": 1}}', 422, "weights-mismatch", None),
        (b'{"format": "nbest-weights/2", "features": {"ac": 1}}', 422, "weights-mismatch", "/format"),
        (b'{"format": "nbest-weights/1", "features": {}}', 422, "weights-mismatch", None),
        (b'{"format": "nbest-weights/1", "features": {"ac": NaN}}', 422, "weights-mismatch", None),
        (b'{"format": "nbest-weights/1", "features": {"ac": 1e999}}', 422, "weights-mismatch", None),
        (b'{"format": "nbest-weights/1", "features": {"ac": "1"}}', 422, "weights-mismatch", "/features/ac"),
        (b'{"format": "nbest-weights/1", "features": {"ac": 1, "ac": 2}}', 400, "invalid-format", None),
        (b'{"format": "nbest-weights/1", "features": {"\\ud800": 1}}', 422, "weights-mismatch", None),
        (b'{"format": "nbest-weights/1", "features": {"ac": 1}, "x": 1}', 422, "weights-mismatch", "/x"),
        (b'{"format": "nbest-weights/1", "features": {"ac": 1}, "text": "no"}', 422, "invalid-configuration", None),
        (b"[" * 100_000, 400, "invalid-format", None),
        (json.dumps(weights(features={"ac": [1.0] * 5001})).encode(), 413, "limit-exceeded", "/features"),
        (b'{"format": "nbest-weights/1", "features": {"ac": 1}}' + b" " * 2**20, 413, "limit-exceeded", None),
        (b'{"a":1' + b',"a":1' * 100_000 + b"}", 413, "limit-exceeded", None),
    ],
)  # fmt: skip
def test_only_weight_sets_are_taken(
    client: TestClient, world: Any, body: bytes, status: int, kind: str, pointer: str | None
) -> None:
    answer = client.put("/v1/weights/mt", content=body)
    assert (answer.status_code, answer.json()["type"]) == (status, kind), answer.text
    assert answer.json().get("pointer") == pointer, answer.text
    assert files(world) == {"asr.json"}


def test_there_is_room_for_so_many(make_client: MakeClient, world: Any) -> None:
    client = make_client(max_weight_files=4)
    assert put(client, "a").status_code == 201  # with asr.json, a.json and a@1.json: three
    full = put(client, "b")
    assert (full.status_code, full.json()["type"]) == (507, "storage-failed")
    assert put(client, "a", 2.0, **ANY).status_code == 200
    assert put(client, "a", 3.0, **ANY).status_code == 507
    assert client.get("/v1/weights/a").json()["features"] == {"ac": 2.0}


def test_a_service_without_a_directory_keeps_nothing(make_client: MakeClient) -> None:
    client = make_client(weights=None)
    assert put(client, "a").status_code == 409
    assert client.get("/v1/weights/a").status_code == 404


def test_a_directory_that_cannot_be_written_tells_no_path(
    client: TestClient, world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from service import weight_sets

    def full(*_: object) -> Any:
        raise OSError(28, "No space left on device", str(world.weights / "x"))

    monkeypatch.setattr(weight_sets, "write_whole", full)
    answer = put(client, "mt")
    assert (answer.status_code, answer.json()["type"]) == (507, "storage-failed")
    assert str(tmp_path) not in answer.text
    monkeypatch.undo()
    assert put(client, "mt").status_code == 201
    world.weights.rename(tmp_path / "elsewhere")
    answer = put(client, "mt", 2.0)
    assert (answer.status_code, str(tmp_path) in answer.text) == (507, False)


def test_a_writer_who_dies_leaves_the_old_set_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the version and the name: the name means what it did, and the next write goes on."""
    from service import weight_sets

    sets = WeightSets(tmp_path)
    sets.put("mt", WeightSet({"ac": (1.0,)}), Conditions())
    real, left = weight_sets._write, [1]

    def dies(path: Path, content: bytes) -> None:
        if not left:
            raise KeyboardInterrupt
        left.pop()
        real(path, content)

    monkeypatch.setattr(weight_sets, "_write", dies)
    with pytest.raises(KeyboardInterrupt):
        sets.put("mt", WeightSet({"ac": (2.0,)}), Conditions(match=("*",)))
    assert sets.get("mt").features == {"ac": (1.0,)}
    monkeypatch.undo()
    sets.put("mt", WeightSet({"ac": (3.0,)}), Conditions(match=("*",)))
    assert sets.get("mt").features == {"ac": (3.0,)}
    assert not list(tmp_path.glob(".nbest-*"))


def test_of_writers_at_once_each_has_its_own_version_and_one_wins_a_tag(tmp_path: Path) -> None:
    sets = [WeightSets(tmp_path) for _ in range(8)]  # as several processes have them
    sets[0].put("mt", WeightSet({"ac": (0.0,)}), Conditions())
    seen = sets[0].stored("mt").tag

    def write(k: int) -> str:
        try:
            return f"{sets[k].put('mt', WeightSet({'ac': (k + 1.0,)}), Conditions(match=(seen,))).changed}"
        except PreconditionFailedError:
            return "late"

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(write, range(8))) == ["True"] + ["late"] * 7

    def add(k: int) -> int | None:
        return sets[k].put("mt", WeightSet({"ac": (k + 100.0,)}), Conditions(match=("*",))).stored.version

    with ThreadPoolExecutor(8) as pool:
        assert sorted(version for version in pool.map(add, range(8)) if version) == list(range(3, 11))


def test_a_lock_is_held_by_one(tmp_path: Path) -> None:
    inside: list[int] = []
    most: list[int] = []

    def enter(k: int) -> None:
        with locked(tmp_path):
            inside.append(k)
            most.append(len(inside))
            threading.Event().wait(0.01)
            inside.remove(k)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(enter, range(8)))
    assert most == [1] * 8
    assert list(tmp_path.iterdir()) == []


def test_a_hundred_thousand_names_make_no_large_answer(make_client: MakeClient, world: Any) -> None:
    for k in range(2_000):
        (world.weights / f"w{k}.json").touch()
    client = make_client()
    answer = client.get("/v1/weights/nosuch")
    assert answer.status_code == 404
    assert len(answer.content) < 1_000
    assert answer.json()["expected"].endswith("and 1981 more")


def test_sets_in_memory_are_bounded(tmp_path: Path) -> None:
    from service import weight_sets

    sets = WeightSets(tmp_path)
    for k in range(weight_sets._MOST_KEPT + 10):
        (tmp_path / f"w{k}.json").write_text(json.dumps(weights(float(k))))
        assert sets.get(f"w{k}").features == {"ac": (float(k),)}
    assert len(sets._read) == weight_sets._MOST_KEPT


def test_of_a_directory_that_is_gone_an_error_says_so(tmp_path: Path) -> None:
    sets = WeightSets(tmp_path / "gone")
    with pytest.raises(NbestError, match="a directory of the service is gone"):
        sets.names()


@pytest.mark.parametrize(
    ("values", "tags"),
    [
        (["*"], ("*",)), (['"a"'], ('"a"',)), (['"a","b" , "c"'], ('"a"', '"b"', '"c"')), (['"a"', 'W/"b"'], ('"a"', '"b"')),
        (['"a,b"'], ('"a,b"',)), (['""'], ('""',)), ([' "a" '], ('"a"',)),
    ],
)  # fmt: skip
def test_entity_tags(values: list[str], tags: tuple[str, ...]) -> None:
    assert parse_conditions([], values).none_match == tags
    strong = parse_conditions(values, []).match
    assert strong == tuple(tag for tag in tags if tag != '"b"' or 'W/"b"' not in values)


@pytest.mark.parametrize(
    "value", ["", "a", '"a', '"a" "b"', "w/\"a\"", '"a b"', '"\0"', "**", '* , "a"', '"a",' * 100_000, "W/" * 50_000]
)  # fmt: skip
def test_what_is_no_entity_tag(value: str) -> None:
    with pytest.raises(InvalidRequestError, match="not a list of entity tags"):
        parse_conditions([value], [])


def test_huge_headers_are_an_error_of_the_request(client: TestClient) -> None:
    put(client, "mt")
    answer = put(client, "mt", 2.0, **{"If-Match": ", ".join(['"x"'] * 10_000)})
    assert (answer.status_code, answer.json()["type"]) == (422, "invalid-request")
    assert len(answer.content) < 500


def test_conditions_on_what_is_not_there() -> None:
    Conditions().check_write(None)
    Conditions(none_match=("*",)).check_write(None)
    Conditions(match=('"a"',)).check_write('"a"')
    with pytest.raises(PreconditionFailedError):
        Conditions(match=("*",)).check_write(None)
    with pytest.raises(PreconditionMissingError):
        Conditions().check_write('"a"')
    assert tag_of(b"").startswith('"e3b0c442')  # sha256 of nothing
