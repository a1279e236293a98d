"""The benchmark of batches: lists with new ids, and one small run of it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from rescoring.formats import read_nbest


@pytest.fixture(scope="module")
def lists(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lists") / "lists"
    lines = [f"{n} ||| a man is {k} ||| LM0= -{k} ||| -{n}.{k}\n" for n in range(3, 6) for k in range(4)]
    path.write_text("".join(lines))
    return path


def test_it_runs(repository: Path, lists: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "benchmarks/batch.py",
        lists,
        "--jobs",
        "1",
        "2",
        "--copies",
        "3",
        "--rounds",
        "1",
    ]
    done = subprocess.run(
        [*command, "--most-lists", "2", "--force", "--out", tmp_path],
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "batch.json").read_text())
    assert (found["lists"]["hypotheses"], found["lists"]["lists"]) == (8, 2)
    engines = found["throughput"]["engines"]
    assert engines.keys() == {"1", "2"}
    assert engines["1"]["times_as_fast"] == 1.0
    assert all(0 < one["start_seconds"] < 600 for one in engines.values())
    assert [one["hypotheses"] for one in found["memory"].values()] == [8, 24]
    assert all(20 < one["peak_megabytes"] < 2000 for one in found["memory"].values())


def test_copies_have_ids_of_their_own(
    lists: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repository: Path
) -> None:
    monkeypatch.syspath_prepend(repository / "benchmarks")
    import batch

    assert batch.copied(lists, tmp_path / "copies.gz", 3) == 36
    found = read_nbest(tmp_path / "copies.gz")
    assert found.ids == tuple(map(str, range(9)))
    assert found.texts[:12] == found.texts[24:] == read_nbest(lists).texts
