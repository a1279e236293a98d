"""Commands that are stopped, and outputs that take no more: real processes."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

NBEST = [sys.executable, "-m", "service.cli.main"]
Start = Callable[..., "subprocess.Popen[bytes]"]
WEIGHTS = '{"format": "nbest-weights/1", "features": {"LM0": 1, "TM0": [0.5, 0]}}'
LINE = "{list} ||| a man is {rank} ||| LM0= -{rank} TM0= -1 -2 ||| -5.5\n"

STOPS = [
    (signal.SIGINT, 130, b"nbest: interrupted"),
    (signal.SIGTERM, 143, b"nbest: stopped by SIGTERM"),
    (signal.SIGHUP, 129, b"nbest: stopped by SIGHUP"),
]


def start(*arguments: object) -> "subprocess.Popen[bytes]":
    """`nbest ARGUMENTS`, as from a terminal."""
    return subprocess.Popen(
        [*NBEST, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        preexec_fn=_as_from_a_terminal,
    )


def _as_from_a_terminal() -> None:
    for number in (signal.SIGINT, signal.SIGHUP):  # a job in the background ignores the first, nohup both
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lists that take seconds to write when they are compressed, and their weights beside them."""
    folder = tmp_path_factory.mktemp("big")
    lines = [LINE.format(list=n, rank=k) for n in range(20_000) for k in range(5)]
    (folder / "lists").write_text("".join(lines))
    (folder / "weights.json").write_text(WEIGHTS)
    (folder / "refs").write_text("a man is 4\n" * 20_000)
    return folder


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # the trial is over
        return 0


def begin_writing(big: Path, out: Path) -> "subprocess.Popen[bytes]":
    """A conversion that has begun to write `out`; rescoring of several blocks is in test_batch.py."""
    process = start("convert", big / "lists", "--to", "jsonl", "--out", out)
    for _ in range(120_000):
        # the place is tried once before the work: only a file that grows is the output
        if any(_size(part) for part in list(out.parent.glob(".nbest-*.part"))):
            return process
        assert process.poll() is None
        time.sleep(0.001)
    raise AssertionError("it does not write")


@pytest.mark.parametrize(("number", "code", "words"), STOPS)
@pytest.mark.parametrize("old", [None, "old"])
def test_stopped_while_it_writes(
    big: Path, tmp_path: Path, number: signal.Signals, code: int, words: bytes, old: str | None
) -> None:
    out = tmp_path / "out.xz"
    if old is not None:
        out.write_text(old)
    process = begin_writing(big, out)
    process.send_signal(number)
    assert process.communicate(timeout=240) == (b"", words + b"\n")
    assert process.returncode == code
    assert [path.name for path in tmp_path.iterdir()] == ([] if old is None else ["out.xz"])
    assert old is None or out.read_text() == old


def test_killed_while_it_writes_it_leaves_the_old_output(big: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.xz"
    out.write_text("old")
    process = begin_writing(big, out)
    process.kill()
    process.communicate(timeout=240)
    assert out.read_text() == "old"


@pytest.mark.parametrize(("number", "code", "words"), [*STOPS, (signal.SIGKILL, -9, b"")])
def test_tune_stopped_between_descents(
    big: Path, tmp_path: Path, number: signal.Signals, code: int, words: bytes
) -> None:
    (tmp_path / "lists").write_text("".join(LINE.format(list=n, rank=k) for n in range(50) for k in range(9)))
    (tmp_path / "refs").write_text("a man is 4\n" * 50)
    before = set(tmp_path.iterdir())
    process = start(
        "tune", tmp_path / "lists", "--ref", tmp_path / "refs", "--metric", "wer",
        "--restarts", 10_000_000, "--out", tmp_path / "out",
    )  # fmt: skip
    try:
        assert process.stderr is not None
        seen = next(line for line in process.stderr if b"descents" in line)
        assert re.fullmatch(rb"wer [0-9.]+ after 1 of 10000000 descents, [0-9]+ s\n", seen)
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=240)
    finally:
        process.kill()
    if number == signal.SIGKILL:  # Python's own tracker frees what the killed process could not, and says so
        stderr = re.sub(rb".*resource_tracker: There appear to be .*\n.*\n", b"", stderr)
    assert (process.returncode, stdout, stderr.rstrip(b"\n")) == (code, b"", words)
    assert set(tmp_path.iterdir()) == before


def test_a_hang_up_that_is_ignored_stays_ignored(big: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*NBEST, "rescore", big / "lists", "--weights", big / "weights.json", "--out", tmp_path / "out.gz"],
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )
    while not list(tmp_path.iterdir()):
        time.sleep(0.001)
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=240)
    assert process.returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["out.gz"]


@pytest.mark.parametrize("one_best", [[], ["--one-best"]])
def test_a_reader_who_leaves_ends_rescore_quietly(big: Path, one_best: list[str]) -> None:
    with start("rescore", big / "lists", "--weights", big / "weights.json", *one_best) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline()
        process.stdout.close()
        assert (process.stderr.read(), process.wait(timeout=240)) == (b"", 141)


@pytest.mark.parametrize(
    ("arguments", "where"),
    [
        (["rescore", "{big}/lists", "--weights", "{big}/weights.json"], "-: cannot be written: "),
        (["convert", "{big}/lists", "--out", "/dev/full"], "/dev/full: cannot be written: "),
        (["oracle", "{big}/lists", "--ref", "{big}/refs", "--metric", "wer"], ""),
        (["models"], ""),
    ],
)
def test_a_full_device_is_one_line(big: Path, arguments: list[str], where: str) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*NBEST, *(argument.format(big=big) for argument in arguments)],
            stdout=full, stderr=subprocess.PIPE, timeout=240, check=False,
        )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.decode() == f"nbest: error: {where}No space left on device\n"


def test_a_pipe_by_name_is_written_to(big: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    process = start("rescore", big / "lists", "--weights", big / "weights.json", "--one-best", "--out", pipe)
    with open(pipe, "rb") as stream:
        lines = stream.read().split(b"\n")
    assert process.communicate(timeout=240)[0] == b""
    assert (process.returncode, len(lines), lines[0]) == (0, 20_001, b"a man is 0")


def test_a_closed_standard_output_is_an_error(big: Path) -> None:
    command = f"{sys.executable} -m service.cli.main rescore {big}/lists --weights {big}/weights.json >&-"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=240, check=False)
    assert (done.returncode, done.stderr) == (2, "nbest: error: -: standard output is closed\n")
