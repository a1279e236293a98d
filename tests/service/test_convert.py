"""POST /v1/convert: every format of one file becomes lists that /v1/rescore takes."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from rescoring.formats import FORMATS, read_nbest
from service import examples
from service.conversion import _told

TEXT = {"Content-Type": "text/plain"}
FAIRSEQ = "S-0\tein Mann\nT-0\ta man\nH-0\t-0.5\ta man\nH-0\t-0.7\tone man\n"
SRILM_2 = "NBestList2.0\n(-1000) a ( st: 0 et: 0.1 g: -200 a: -800 )\n"


def convert(client: TestClient, body: str | bytes, query: str = "", **headers: str) -> Any:
    return client.post(f"/v1/convert{query}", content=body, headers={**TEXT, **headers})


def example(repository: Path, name: str) -> str:
    return (repository / "examples" / name).read_text("utf-8")


@pytest.mark.parametrize(
    ("name", "query", "found_format", "options"),
    [
        ("mt.dev.nbest", "", "moses", {"keep_total": True}),
        ("lists.jsonl", "", "jsonl", {}),
        ("speech.mlm.json", "", "mlm", {}),
        ("beams.tsv", "?beam_size=6", "nemo", {"beam_size": 6}),
        ("srilm_nbest/anna-001", "", "srilm", {}),
    ],
)
def test_files_of_the_examples(
    client: TestClient, repository: Path, name: str, query: str, found_format: str, options: dict[str, Any]
) -> None:
    answer = convert(client, example(repository, name), query)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["format"] == found_format
    lists = read_nbest(repository / "examples" / name, **options)
    assert [len(one["hypotheses"]) for one in found["lists"]] == [len(rows) for rows in lists]
    texts = [each["text"] for one in found["lists"] for each in one["hypotheses"]]
    assert texts == list(lists.texts)
    names = list(found["lists"][0]["hypotheses"][0]["features"])
    assert names == [feature.name for feature in lists.schema]
    ranked = client.post("/v1/rescore", json={"models": ["small"], "lists": found["lists"]}).json()
    assert all(
        one.get("ranking") or one["error"]["type"] == "invalid-configuration" for one in ranked["results"]
    )
    if options.get("keep_total"):
        assert all("ranking" in one for one in ranked["results"])  # ranked by the decoder's total


@pytest.mark.parametrize(
    ("body", "name", "texts"),
    [
        (FAIRSEQ, "fairseq", ["a man", "one man"]),
        (SRILM_2, "srilm", ["a"]),
        ("NBestList1.0\n(-1000) a b\n", "srilm", ["a b"]),
        ("-1.5 -2.5 2 a b\n", "srilm", ["a b"]),
        (json.dumps({"lists": examples.SPEECH[:1]}), "jsonl", None),
        (json.dumps(examples.SPEECH, indent=1), "jsonl", None),
        (json.dumps(examples.SPEECH[0], indent=1), "jsonl", None),
        ("\ufeff\n" + "\r\n".join(map(json.dumps, examples.SPEECH)), "jsonl", None),
        ('{"u": {"ref": "a", "hyp_1": {"score": -1, "text": "a"}}}', "mlm", ["a"]),
    ],
)
def test_formats_are_told(client: TestClient, body: str, name: str, texts: list[str] | None) -> None:
    answer = convert(client, body)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["format"] == name
    if texts is not None:
        assert [one["text"] for one in found["lists"][0]["hypotheses"]] == texts
    else:
        assert found["lists"] == examples.SPEECH[: len(found["lists"])]


def test_references_come_along_and_warnings_too(client: TestClient) -> None:
    found = convert(client, FAIRSEQ).json()
    assert found["lists"][0]["references"] == ["a man"]
    lines = [
        f"{number} ||| {'w ' * (number + 1)}||| LM0= {1.5 * number + 1.25} ||| -1\n" for number in range(30)
    ]
    warnings = convert(client, "".join(lines)).json()["warnings"]
    assert any("costs?" in warning for warning in warnings)


def test_gzip(client: TestClient) -> None:
    answer = convert(client, gzip.compress(examples.MOSES.encode()), **{"Content-Encoding": "gzip"})
    assert len(answer.json()["lists"]) == 3


@pytest.mark.parametrize(
    ("body", "query", "status", "words"),
    [
        ("", "", 400, "nothing in it"),
        (" \n\n", "", 400, "nothing in it"),
        ("just some words\n", "", 400, "body:1"),
        ("/etc/passwd\n", "", 400, "n-best lists of an unknown format"),
        ('{"id": "u", "hypotheses": [\n', "", 400, "not JSON"),
        ('{"id": "u"}\n{"id": \n', "", 400, "body:2"),
        ('[{"id": "u"}, {"id": "u" "x": 1}]', "", 400, "not JSON"),
        ('{"id": "u", "hypotheses": [{"text": "a", "features": {"x": NaN}}]}', "", 400, "not finite"),
        ("0 ||| a ||| x= 1 ||| 1\n0 ||| b\n", "", 400, "body:2"),
        ("a\t-1\n", "", 422, "?beam_size=N"),
        ("a\t-1\nb\t-2\n", "?beam_size=3", 400, "body"),
        ("a\t-1\n", "?beam_size=x", 422, "not a beam size"),
        ("a\t-1\n", "?beam=1", 422, "unknown query parameter"),
        ("0 ||| a ||| x= 1 ||| 1\n", "?beam_size=3", 422, "nemo"),
        ('{"u": {"hyp_1": {"score": "x", "text": "a"}}}', "", 400, "not a number"),
        (b"\xff\n", "", 400, "invalid UTF-8"),
    ],
)  # fmt: skip
def test_what_cannot_be_read(
    client: TestClient, body: str | bytes, query: str, status: int, words: str
) -> None:
    answer = convert(client, body, query)
    assert answer.status_code == status, answer.text
    assert words in answer.text
    assert "/tmp" not in answer.text


def test_no_other_file_is_ever_read(client: TestClient, tmp_path: Path) -> None:
    """SRILM's list of lists names files: one that comes over HTTP may not."""
    secret = tmp_path / "secret"
    secret.write_text("-1 -2 1 secret\n")
    for body in (
        f"{secret}\n",
        f"\n  {secret}\n",
        f"-1 -2 1 a\n{secret}\n",
        f"\ufeff{secret}\n",
        f"\r\n{secret}\n",
    ):
        answer = convert(client, body)
        assert "secret" not in answer.text.replace(str(secret), "")
    for line in (str(secret), f" {secret}", "words"):
        (tmp_path / "lists").write_text(f"{line}\n")
        with pytest.raises(Exception, match="unknown format"):
            _told(tmp_path / "lists")


def test_kinds_of_body(client: TestClient) -> None:
    assert client.post("/v1/convert", json={}).status_code == 415
    assert {"moses", "srilm", "nemo", "mlm", "fairseq", "jsonl"} == {
        one.name for one in FORMATS.values() if one.begins is not None
    }
