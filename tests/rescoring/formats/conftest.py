"""A small Kaldi n-best directory, and how Kaldi packs integers."""

import struct
from pathlib import Path

import pytest


def binary(key: str, numbers: list[int]) -> bytes:
    """An entry as Kaldi's Int32VectorHolder writes it."""
    cells = b"".join(b"\4" + struct.pack("<i", number) for number in [len(numbers), *numbers])
    return key.encode() + b" \0B" + cells


def write(folder: Path, **tables: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in tables.items():
        (folder / name).write_text(content)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Two archives, three utterances with hyphens in their ids; blanks as Kaldi's tools leave them."""
    root = tmp_path / "nbest"
    write(
        root / "archives.1",
        words_text="a-b-1 the first word\na-b-2 first word\na-c-1 \n",
        words="a-b-1 1 2 3 \na-b-2 2 3 \na-c-1 \n",
        ali="a-b-1 \na-b-2 \na-c-1 \n",
        acwt="a-b-1 10.5 \na-b-2 11 \na-c-1 -0 \n",
        **{
            "lmwt.nolm": "a-b-1 0 \na-b-2 -0 \na-c-1 0 \n",
            "lmwt.lmonly": "a-b-1 5\na-b-2 4\na-c-1 3\n",
            "lmwt.withlm": "a-b-1 5\na-b-2 4\na-c-1 3\n",
            "lmwt.rnn": "a-b-1\t6.5\na-b-2\t7\na-c-1\t1e-05\n",
            "lmwt.interp.0.5": "a-b-1 5.75\na-b-2 5.5\na-c-1 1.5\n",
        },
    )
    write(
        root / "archives.2",
        words_text="z-1 only\n",
        words="z-1 4 \n",
        ali="z-1 \n",
        acwt="z-1 1\n",
        **{"lmwt.nolm": "z-1 2\n", "lmwt.lmonly": "z-1 3\n", "lmwt.withlm": "z-1 5\n", "lmwt.rnn": "z-1 4\n"},
        **{"lmwt.interp.0.5": "z-1 3.5\n"},
    )
    (root / "num_jobs").write_text("2\n")
    return root
