"""`make audit`: what it looks at, and that it never passes where it could not look."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PYTHON = """#!/bin/sh
echo "python $*" >>"$FAKE_LOG"
case "$*" in
    "-m venv "*) mkdir -p "$3/bin"; cp "$0" "$3/bin/python" ;;
    *"pip install"*)
        [ -n "${FAKE_OFFLINE:-}" ] && { echo "ERROR: No matching distribution found" >&2; exit 1; }
        cp "$FAKE_AUDIT" "$(dirname "$0")/pip-audit"
        ;;
esac
"""
AUDIT = """#!/bin/sh
echo "pip-audit $*" >>"$FAKE_LOG"
exit "${FAKE_FOUND:-0}"
"""


def executable(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture
def checkout(tmp_path: Path, repository: Path) -> Path:
    """The script, an unremarkable package of each name, the true ruff, and a Python that only pretends."""
    root = tmp_path / "checkout"
    executable(root / "scripts/audit", (repository / "scripts/audit").read_text())
    for name in ("nbest", "service", "models", "rescoring"):
        (root / name).mkdir()
        (root / name / "one.py").write_text("ONE = 1\n")
    (root / "constraints.txt").write_text("h11==0.16.0\n")
    executable(root / ".venv/bin/python", PYTHON)
    (root / ".venv/bin/ruff").symlink_to(Path(sys.executable).parent / "ruff")
    executable(tmp_path / "pip-audit", AUDIT)
    return root


def audit(root: Path, **variables: str) -> tuple[int, str, list[str]]:
    log = root / "log"
    log.unlink(missing_ok=True)
    given = {"FAKE_LOG": str(log), "FAKE_AUDIT": str(root.parent / "pip-audit"), **variables}
    done = subprocess.run(
        [root / "scripts/audit"], capture_output=True, text=True, env={"PATH": os.environ["PATH"], **given}
    )
    return done.returncode, done.stdout + done.stderr, log.read_text().split("\n") if log.exists() else []


def test_both_are_looked_at(checkout: Path) -> None:
    code, said, log = audit(checkout)
    assert code == 0, said
    assert "our own code: nothing found" in said
    assert "the pinned libraries: nothing found" in said
    (line,) = [line for line in log if line.startswith("pip-audit")]
    assert line.endswith("--requirement constraints.txt")
    assert {"--strict", "--no-deps", "--disable-pip"} <= set(line.split())
    assert not [line for line in audit(checkout)[2] if "install" in line]  # it is there the second time


def test_without_pip_audit_it_says_what_is_needed_and_fails(checkout: Path) -> None:
    code, said, log = audit(checkout, FAKE_OFFLINE="1")
    assert code == 1
    assert "the pinned libraries were NOT checked: pip-audit is missing and could not be installed" in said
    assert "needed: pip install 'pip-audit>=2.9,<3'" in said
    assert not [line for line in log if line.startswith("pip-audit")]


def test_what_pip_audit_finds_fails(checkout: Path) -> None:
    code, said, _ = audit(checkout, FAKE_FOUND="1")
    assert (code, "nothing found\naudit: the pinned" in said) == (1, False)
    assert "pip-audit found something, or could not look" in said


def test_an_unsafe_habit_fails(checkout: Path) -> None:
    (checkout / "service/one.py").write_text('import subprocess\nsubprocess.run("ls " + x, shell=True)\n')
    code, said, log = audit(checkout)
    assert code == 1
    assert "S602" in said
    assert "our own code: see above" in said
    assert log == []


@pytest.mark.parametrize(
    ("target", "command"), [("audit", "scripts/audit"), ("fuzz", "HYPOTHESIS_PROFILE=long")]
)
def test_make_has_it(repository: Path, target: str, command: str) -> None:
    if shutil.which("make") is None:
        pytest.skip("no make on this machine")
    done = subprocess.run(["make", "--dry-run", target], cwd=repository, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert command in done.stdout
