"""The scoring benchmark runs, its contenders agree, and it refuses a busy machine."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]
TINY = "--model bllm:12x2:200 --lists 2 --rounds 1 --no-onnx".split()


def test_contenders_agree(run_benchmark: Run, tmp_path: Path) -> None:
    done = run_benchmark("scoring", *TINY, "--force", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    document = json.loads((tmp_path / "scoring-1.json").read_text())
    (row,) = document["measured"]
    assert set(row["ceilings"]) == {"fp32_products", "bf16_products", "int8_products", "exp"}
    assert min(row["ceilings"].values()) > 0
    assert row["made"]["forced"]
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
    other = "--model lstm:12x1:200 --lists 1 --rounds 1 --no-onnx --force --out".split()
    assert run_benchmark("scoring", *other, tmp_path).returncode == 0
    again = json.loads((tmp_path / "scoring-1.json").read_text())["measured"]
    assert [one["model"] for one in again] == ["bllm:12x2:200", "lstm:12x1:200"]
    assert again[0] == row


def test_it_refuses_a_busy_machine(run_benchmark: Run, tmp_path: Path) -> None:
    done = run_benchmark("scoring", *TINY, "--load-limit", "-1", "--out", tmp_path)
    assert done.returncode == 1
    assert "wait until the machine is idle, or --force" in done.stderr
    assert not list(tmp_path.iterdir())


def test_peers_of_onnx_agree(run_benchmark: Run, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    pytest.importorskip("onnx", reason="onnx is not installed")
    done = run_benchmark("scoring", *TINY[:-1], "--force", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    contenders = json.loads((tmp_path / "scoring-1.json").read_text())["measured"][0]["contenders"]
    found = {name.partition(", batch")[0]: one["greatest_difference"] for name, one in contenders.items()}
    assert found["ONNX Runtime, fp32"] < 1e-5
    assert found["ONNX Runtime, int8"] < 5e-2
