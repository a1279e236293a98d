# ruff: noqa: E501 - a table reads better with each case on one line

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

WEB = Path(__file__).parents[2] / "service" / "web"


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_pages_are_served_under_a_policy_that_allows_nothing_from_elsewhere(
    client: TestClient, path: str
) -> None:
    answer = client.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_every_file_that_a_page_names_is_served(client: TestClient) -> None:
    waiting, seen = {"/", "/docs"}, set[str]()
    while waiting:
        path = waiting.pop()
        seen.add(path)
        answer = client.get(path)
        assert answer.status_code == 200, path
        if path.endswith((".svg", ".jsonl", ".nbest")):
            continue
        if path.endswith(".js"):
            assert "javascript" in answer.headers["content-type"]
            named = {f"/web/{name}" for name in re.findall(r'from "\./([^"]+)"', answer.text)}
        else:
            named = {f"/{name}" for name in re.findall(r'(?:src|href)="(web/[^"]+)"', answer.text)}
            named |= {f"/web/{name}" for name in re.findall(r'data-example="([^"]+)"', answer.text)}
        waiting |= named - seen
    assert {f"/web/{path.name}" for path in WEB.iterdir() if path.suffix != ".html"} <= seen


def test_pages_ask_nobody_else() -> None:
    for path in WEB.iterdir():
        addresses = re.findall(r"https?://[^\s\"'<>`]+", path.read_text(encoding="utf-8"))
        assert set(addresses) <= {"http://www.w3.org/2000/svg"}, path  # a name, never asked


def test_no_path_leaves_the_folder(client: TestClient) -> None:
    assert client.get("/web/../app.py").status_code == 404
    assert client.get("/web/%2e%2e/app.py").status_code == 404


def test_every_control_has_a_label() -> None:
    page = (WEB / "index.html").read_text(encoding="utf-8")
    labelled = set(re.findall(r'<label[^>]* for="([^"]+)"', page))
    for tag, identity in re.findall(r'<(textarea|select|input)[^>]* ?id="([^"]+)"', page):
        inside = re.search(rf'<label[^>]*>[^<]*<{tag} id="{identity}"', page)
        assert identity in labelled or inside, identity


def test_the_browser_ranks_as_the_service_does() -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node on this machine")
    program = f"""
    import {{ changes, columns, parts, rank }} from {json.dumps((WEB / "ranking.js").as_uri())};
    const hypotheses = [[-10, [1, 2]], [-11, [3, 2]], [-9, [0, 2]]].map(([ac, tm], index) =>
      ({{ index, text: "t", columns: columns({{ ac, tm }}) }}));
    const weights = {{ ac: 1, "tm[0]": 0.5, "tm[1]": 2 }};
    const ranked = rank(hypotheses, weights);
    console.log(JSON.stringify([
      ranked.map(({{ index, total }}) => [index, total]),
      parts(ranked[0], hypotheses[0], weights).map(({{ name, contribution, gain }}) => [name, contribution, gain]),
      changes("a man rides a horse", "a man a house").map(({{ word, kind }}) => `${{word}}:${{kind}}`),
      changes("", "gone"),
    ]));
    """
    done = subprocess.run(
        [node, "--input-type=module", "-e", program], capture_output=True, text=True, check=True, timeout=60
    )
    totals, gains, words, emptied = json.loads(done.stdout)
    assert totals == [[2, -5], [0, -5.5], [1, -5.5]]  # of equal ones the earlier first
    assert gains == [["ac", -9, 1], ["tm[0]", 0, -0.5], ["tm[1]", 4, 0]]
    assert words == ["a:same", "man:same", "rides:new", "a:same", "house:gone", "horse:new"]
    assert emptied == [{"word": "gone", "kind": "gone"}]


def test_references_find_their_lists() -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node on this machine")
    program = rf"""
    import {{ referencesOf }} from {json.dumps((WEB / "session.js").as_uri())};
    const lists = [{{ id: "u1", references: ["a", "b"] }}, {{ id: "u2", references: ["c"] }}];
    const said = (...given) => {{
      try {{ return referencesOf(...given); }} catch (error) {{ return error.message; }}
    }};
    console.log(JSON.stringify([
      said(lists, ""), said(lists, "x y\r\n\n"), said(lists, "x\ny z\n"), said(lists, "\ny\n"),
      said(lists, "u2 two words\nu1\n"), said([lists[0], {{ id: "u3" }}], " "),
    ]));
    """
    done = subprocess.run(
        [node, "--input-type=module", "-e", program], capture_output=True, text=True, check=True, timeout=60
    )
    carried, few, typed, silence, named, none = json.loads(done.stdout)
    assert carried == [["a", "b"], ["c"]]
    assert few == "There are 2 lists and 1 lines of references: one line a list, in their order."
    assert typed == [["x"], ["y z"]]
    assert silence == [[""], ["y"]]  # nothing was said
    assert named == [[""], ["two words"]]
    assert none is None


def test_weights_that_are_taken_rank_all_lists() -> None:
    """Those of a weight set; a column that it does not name, as the decoder's total, counts nothing."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node on this machine")
    program = f"""
    import {{ Session }} from {json.dumps((WEB / "session.js").as_uri())};
    const ranking = [["b", 1, -2], ["a", 0, -1]].map(([text, index, total]) =>
      ({{ index, text, features: {{ total, tm: [index, 1] }} }}));
    const results = [{{ id: "u", weights: {{ total: -1, tm: [0, 0] }}, ranking }}, {{ id: "v", error: {{}} }}];
    const session = new Session([{{}}, {{}}], {{ results, signature: "", usage: {{}} }}, {{ models: [] }});
    const firsts = () => session.bests(session.good);
    const found = [firsts()];
    session.take({{ tm: [-1, 3] }});
    found.push(firsts(), session.weights(0), session.changed);
    session.reset();
    session.move(0, "total", -1);
    found.push(session.changed, session.ranking(1));
    console.log(JSON.stringify(found));
    """
    done = subprocess.run(
        [node, "--input-type=module", "-e", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert json.loads(done.stdout) == [
        {"before": ["a"], "answer": ["b"], "now": ["b"]},
        {"before": ["a"], "answer": ["b"], "now": ["a"]},
        {"total": 0, "tm[0]": -1, "tm[1]": 3},
        True,
        False,
        [],
    ]


def test_examples_of_the_buttons_are_files_that_are_served(client: TestClient) -> None:
    named = re.findall(r'data-example="([^"]+)"', (WEB / "index.html").read_text(encoding="utf-8"))
    assert len(named) == 3
    for name in named:
        assert client.get(f"/web/{name}").text == (WEB / name).read_text(encoding="utf-8")
