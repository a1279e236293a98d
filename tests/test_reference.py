"""docs/reference says what the code says, and its Python runs."""

import re
import subprocess
import sys
from pathlib import Path


def test_the_pages_are_current(repository: Path) -> None:
    done = subprocess.run(
        [sys.executable, "scripts/reference.py", "--check"],
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_index_names_every_page(repository: Path) -> None:
    folder = repository / "docs/reference"
    index = (folder / "README.md").read_text("utf-8")
    pages = {path.name for path in folder.glob("*.md")} - {"README.md"}
    assert set(re.findall(r"\]\(([a-z]+\.md)\)", index)) == pages


def test_the_python_of_the_index_runs(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(repository / "examples")
    (code,) = re.findall(r"```python\n(.*?)```", (repository / "docs/reference/README.md").read_text(), re.S)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    dev, test, scores = done.stdout.split("\n")[:3]
    before, after = map(float, re.findall(r"([\d.]+) (?:BLEU before|after)", dev))
    assert after >= before
    assert re.match(r"test: [\d.]+ \[[\d.]+, [\d.]+\], \d lists changed", test)
    likely, unlikely = map(float, scores.strip("[]").split())
    assert likely > unlikely
    assert (tmp_path / "python.json").exists()
    assert len((tmp_path / "python.nbest").read_text().split("\n")) == 49


def test_every_link_of_the_documents_leads_somewhere(repository: Path) -> None:
    documents = [repository / "README.md", *(repository / "docs").rglob("*.md")]
    documents += [
        repository / name for name in ("CHANGELOG.md", "CONTRIBUTING.md", "clients/python/README.md")
    ]
    broken = []
    for path in documents:
        text = re.sub(r"^(```.*?^```| {4}[^\n]*)", "", path.read_text("utf-8"), flags=re.S | re.M)
        targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text)
        missing = [one for one in targets if "://" not in one and not (path.parent / one).exists()]
        broken += [f"{path.relative_to(repository)}: {one}" for one in missing]
    assert broken == []
