"""The client's README: its examples run as they stand, and what it names is there."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import nbest_client
from nbest_client import Client


@pytest.fixture(scope="module")
def text(repository: Path) -> str:
    return (repository / "clients/python/README.md").read_text("utf-8")


def test_the_examples_run(text: str, service: Any, repository: Path, tmp_path: Path) -> None:
    examples = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(examples) == 2
    lists = [{"id": f"u{k}", "hypotheses": [{"text": "a man"}, {"text": "man"}]} for k in range(3)]
    (tmp_path / "lists.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lists))
    said = []
    for example in examples:
        # The stub knows no such words, and the address is another.
        program = example.replace("http://127.0.0.1:8000", service.url).replace(
            "Client() as", f"Client({service.url!r}) as"
        )
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(repository / "clients/python")},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        said.append(done.stdout)
    assert said[0].startswith("utt-1 the weather is nice today")
    assert "small:sha256:" in said[0]
    assert re.findall(r"id='(u\d)'", said[1]) == ["u0", "u1", "u2"]
    assert "text='man'" in said[1]


def test_what_it_names_is_there(text: str) -> None:
    table = {
        name for row in re.findall(r"^\| (`.*?) \|", text, re.MULTILINE) for name in row[1:-1].split("`, `")
    }
    assert table == {name for name in vars(Client) if not name.startswith("_")} - {"close"}
    for name in re.findall(r"`([A-Z]\w+(?:Error|List))`", text):
        assert hasattr(nbest_client, name)
    retry = nbest_client.Retry()
    assert f"up to {retry.most_seconds:g} s" in text
    assert f"a total of {retry.total_seconds:g} s" in text


def test_the_tree_that_is_printed_is_the_tree() -> None:
    from nbest_client import errors

    assert errors.__doc__
    printed = set(re.findall(r"\w+Error", errors.__doc__))
    kinds = {
        name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)
    }
    assert printed == kinds <= {*nbest_client.__all__}
