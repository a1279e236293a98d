"""A benchmark as a module, and as a command."""

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def load_benchmark(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """The module of a benchmark by its name, for one test."""

    def load(name: str) -> ModuleType:
        monkeypatch.syspath_prepend(repository / "benchmarks")
        spec = importlib.util.spec_from_file_location(name, repository / "benchmarks" / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def run_benchmark(repository: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a benchmark by its name, with arguments and OMP_NUM_THREADS."""

    def run(name: str, *arguments: object, threads: str = "1") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, f"benchmarks/{name}.py", *map(str, arguments)],
            cwd=repository,
            env={"PATH": "", "PYTHONPATH": str(repository), "OMP_NUM_THREADS": threads},
            capture_output=True,
            text=True,
            check=False,
        )

    return run
