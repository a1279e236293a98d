"""The scoring benchmark runs, its contenders agree, and it refuses a busy machine."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

TINY = "--model bllm:12x2:200 --lists 2 --rounds 1 --no-onnx".split()


def _run(repository: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "benchmarks/scoring.py", *map(str, arguments)],
        cwd=repository,
        env={"PATH": "", "PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_contenders_agree(repository: Path, tmp_path: Path) -> None:
    done = _run(repository, *TINY, "--force", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    document = json.loads((tmp_path / "scoring-1.json").read_text())
    assert set(document["ceilings"]) == {"fp32_products", "int8_products", "exp"}
    (row,) = document["measured"]
    assert row["texts"] == 2 * 137
    assert row["distinct_prefixes"] < row["tokens"]
    contenders = row["contenders"]
    assert contenders["plain torch"]["times_as_fast_as_plain"] == 1
    assert {"torch engine, fp32", "engine, fp32"} < set(contenders)
    for name, one in contenders.items():
        assert len(one["rounds"]) == 1
        bound = 1e-2 if "bf16" in name or "int8" in name else 1e-5
        assert one["greatest_difference"] < bound, name
    assert "plain torch" in done.stdout


def test_it_refuses_a_busy_machine(repository: Path, tmp_path: Path) -> None:
    done = _run(repository, *TINY, "--load-limit", "-1", "--out", tmp_path)
    assert done.returncode == 1
    assert "wait until the machine is idle, or --force" in done.stderr
    assert not list(tmp_path.iterdir())


def test_peers_of_onnx_agree(repository: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    pytest.importorskip("onnx", reason="onnx is not installed")
    done = _run(repository, *TINY[:-1], "--force", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    contenders = json.loads((tmp_path / "scoring-1.json").read_text())["measured"][0]["contenders"]
    found = {name.partition(", batch")[0]: one["greatest_difference"] for name, one in contenders.items()}
    assert found["ONNX Runtime, fp32"] < 1e-5
    assert found["ONNX Runtime, int8"] < 5e-2
