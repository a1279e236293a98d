"""The pictures of docs/concepts.md: their numbers are what the command beside them writes."""

import json
import re
import shlex
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

from service.cli.main import nbest

SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize("name", ["concepts-list", "concepts-data"])
def test_a_picture_says_in_words_what_it_shows(repository: Path, name: str) -> None:
    assert f"({name}.svg)" in (repository / "docs/concepts.md").read_text("utf-8")
    picture = ElementTree.parse(repository / f"docs/{name}.svg").getroot()
    ids = picture.attrib["aria-labelledby"].split(" ")
    told = {one.attrib["id"]: one.text for one in picture if one.tag in {f"{SVG}title", f"{SVG}desc"}}
    assert list(told) == ids
    assert all(told.values())
    style = picture.findtext(f"{SVG}style")
    assert style is not None
    assert "prefers-color-scheme:dark" in style


def test_numbers_of_the_list(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (repository / "docs/concepts.md").read_text("utf-8")
    (command,) = re.findall(r"^    nbest (rescore examples/lists.jsonl .*)$", text, re.MULTILINE)
    (tmp_path / "examples").symlink_to(repository / "examples")
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(nbest, shlex.split(command)).exit_code == 0
    first = json.loads((tmp_path / "concepts.jsonl").read_text("utf-8").split("\n")[0])
    found = {}
    for one in first["hypotheses"]:
        of = one["features"]
        found[one["text"]] = [of["ac"], of["lm"], 0.1 * of["ac"] + of["lm"], of["small"], one["score"]]
    picture = ElementTree.parse(repository / "docs/concepts-list.svg").getroot()
    told = [(one.text or "", one.get("class")) for one in picture.iter(f"{SVG}text")]
    words = [text for text, _ in told]
    shown = [text for text in words if text in found]
    assert len(shown) == 3
    for text in shown:
        at = words.index(text) + 1
        numbers = [float(number.replace("−", "-")) for number in words[at : at + 5]]
        assert numbers == pytest.approx(found[text], abs=0.0051)
    best = [max(found, key=lambda text: found[text][column]) for column in (2, 4)]
    assert best == [shown[0], shown[2]]
    marked = [text for text, kind in told if kind == "best"]
    assert marked == [f"{found[best[0]][2]:.2f}".replace("-", "−"), best[1], "−114.37"]
