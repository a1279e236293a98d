"""The documents say what the committed results say."""

import subprocess
import sys
from pathlib import Path


def test_results_document_is_current(repository: Path) -> None:
    done = subprocess.run(
        [sys.executable, "benchmarks/tables.py", "--check"],
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
