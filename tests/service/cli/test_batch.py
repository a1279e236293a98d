"""nbest rescore on files of several blocks: real processes, killed, stopped, started twice, out of space."""

import gzip
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rescoring.batch.block import BLOCK_HYPOTHESES
from rescoring.formats import read_nbest, write_nbest
from service import ray_cluster

Start = Callable[..., "subprocess.Popen[bytes]"]
WEIGHTS = '{"format": "nbest-weights/1", "features": {"LM0": 1, "TM0": [0.5, -1]}}'
RESCORE = [sys.executable, "-m", "service.cli.main", "rescore"]
LISTS = 2500  # of 10 hypotheses: five blocks


def line(number: int, rank: int) -> str:
    chance = random.Random(f"{number} {rank}")
    words = " ".join(chance.choices(("a", "man", "horse", "is", "riding", "writing"), k=6))
    return f"{number} ||| {words} ||| LM0= -{rank}.5 TM0= -1 -{chance.randrange(9)} ||| -5.5\n"


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lists of five blocks, as a file and as a Kaldi directory of five archives; their weights."""
    folder = tmp_path_factory.mktemp("big")
    with gzip.open(folder / "lists.gz", "wt", compresslevel=1) as stream:
        stream.writelines(line(n, k) for n in range(LISTS) for k in range(10))
    (folder / "weights.json").write_text(WEIGHTS)
    (folder / "kaldi.json").write_text(WEIGHTS.replace('"TM0": [0.5, -1]', '"TM0_0": 0.5, "TM0_1": -1'))
    lists = read_nbest(folder / "lists.gz")
    for job in range(5):
        write_nbest(lists.select(range(500 * job, 500 * job + 500)), folder / "part", "kaldi")
        (folder / "kaldi").mkdir(exist_ok=True)
        shutil.move(folder / "part" / "archives.1", folder / "kaldi" / f"archives.{job + 1}")
        shutil.rmtree(folder / "part")
    (folder / "kaldi" / "num_jobs").write_text("5\n")
    return folder


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts `nbest rescore ARGUMENTS`; nothing that was started is left."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(*arguments: object) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(
            [*RESCORE, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def finish(process: "subprocess.Popen[bytes]") -> tuple[int, str]:
    _, stderr = process.communicate(timeout=240)
    return process.returncode, stderr.decode()


def wait_for(process: "subprocess.Popen[bytes]", out: Path, blocks: int) -> None:
    """Until so many blocks are finished, or the process is."""
    journal = out.with_name(f"{out.name}.nbest-partial") / "journal"
    while process.poll() is None:
        if journal.exists() and journal.read_bytes().count(b"\n") > blocks:
            return
        time.sleep(0.002)


def content(place: Path) -> dict[str, bytes]:
    if place.is_file():
        return {"": place.read_bytes()}
    return {str(one.relative_to(place)): one.read_bytes() for one in place.rglob("*") if one.is_file()}


def arguments(big: Path, kind: str) -> list[object]:
    if kind == "kaldi":
        return [big / "kaldi", "--weights", big / "kaldi.json"]
    return [big / "lists.gz", "--weights", big / "weights.json"]


@pytest.fixture(scope="module")
def expected(big: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, bytes]]:
    """What a run writes that nobody disturbs."""
    folder = tmp_path_factory.mktemp("expected")
    known: dict[str, dict[str, bytes]] = {}

    def of(kind: str, *more: object) -> dict[str, bytes]:
        key = f"{kind} {more}"
        if key not in known:
            out = folder / f"{len(known)}{'' if kind == 'kaldi' else kind}"
            subprocess.run(
                [*RESCORE, *map(str, [*arguments(big, kind), *more, "--out", out])],
                check=True,
                capture_output=True,
                timeout=240,
            )
            known[key] = content(out)
        return known[key]

    return of


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("", ["--jobs", 2]),
        (".gz", []),
        (".bz2", ["--one-best"]),
        (".xz", []),
        (".zst", ["--jobs", 2]),
        ("kaldi", []),
        ("kaldi", ["--jobs", 2]),
    ],
)
def test_killed_and_killed_again_it_ends_with_the_same_bytes(
    big: Path, tmp_path: Path, start: Start, expected: Callable[..., Any], kind: str, more: list[object]
) -> None:
    """Real SIGKILLs, wherever they fall behind a finished block."""
    out = tmp_path / f"out{'' if kind == 'kaldi' else kind}"
    chance = random.Random(f"{kind} {more}")
    for blocks in (1, 2, 4):
        process = start(*arguments(big, kind), *more, "--out", out)
        wait_for(process, out, blocks)
        time.sleep(chance.random() * 0.1)
        process.kill()
        code, _ = finish(process)
        if code == 0:
            break
    code, said = finish(start(*arguments(big, kind), *more, "--out", out))
    assert code == 0, said
    if "--jobs" in more:
        more = more[: more.index("--jobs")]  # the bytes are those of one process
    assert content(out) == expected(kind, *more)
    assert [one.name for one in tmp_path.iterdir()] == [out.name]


@pytest.mark.parametrize(
    ("number", "code", "words"),
    [
        (signal.SIGINT, 130, "nbest: interrupted"),
        (signal.SIGTERM, 143, "nbest: stopped by SIGTERM"),
    ],
)
@pytest.mark.parametrize("jobs", [1, 2])
def test_stopped_it_keeps_what_is_finished_and_says_so(
    big: Path,
    tmp_path: Path,
    start: Start,
    expected: Callable[..., Any],
    number: signal.Signals,
    code: int,
    words: str,
    jobs: int,
) -> None:
    out = tmp_path / "out.xz"
    process = start(*arguments(big, ".xz"), "--jobs", jobs, "--out", out)
    wait_for(process, out, 2)
    process.send_signal(number)
    ended, said = finish(process)
    kept, stopped, _ = said.split("\n")
    assert (ended, stopped) == (code, words)
    assert kept.endswith(f"of 5 blocks are kept, the same command goes on with them: {out}.nbest-partial")
    finished = int(kept.split(" ")[1])
    assert 1 <= finished < 5
    assert not out.exists()
    ended, said = finish(start(*arguments(big, ".xz"), "--out", out))
    taken_up = int(said.split(" of 5 blocks were finished by an earlier run")[0].split(" ")[-1])
    assert taken_up in (finished, finished + 1)  # on the disk, when the signal came before it counted
    assert f"lists {LISTS}  hypotheses {10 * LISTS} " in said
    assert (ended, content(out)) == (0, expected(".xz"))


def test_a_run_of_other_settings_is_refused_and_may_be_dropped(
    big: Path, tmp_path: Path, start: Start, expected: Callable[..., Any]
) -> None:
    out = tmp_path / "out.gz"
    process = start(*arguments(big, ".gz"), "--out", out)
    wait_for(process, out, 2)
    process.kill()
    finish(process)
    code, said = finish(start(*arguments(big, ".gz"), "--one-best", "--out", out))
    assert code == 2
    assert f"{out}.nbest-partial: an unfinished run had other settings: one best; expected the same" in said
    assert "or --restart, to start over" in said
    shutil.copy(big / "lists.gz", tmp_path / "lists.gz")  # the same content, of another time
    code, said = finish(start(tmp_path / "lists.gz", *arguments(big, ".gz")[1:], "--out", out))
    assert (code, "an unfinished run had other settings: lists" in said) == (2, True)
    code, said = finish(start(*arguments(big, ".gz"), "--one-best", "--restart", "--out", out))
    assert (code, "by an earlier run" in said) == (0, False)
    assert content(out) == expected(".gz", "--one-best")


def test_two_runs_on_one_output(
    big: Path, tmp_path: Path, start: Start, expected: Callable[..., Any]
) -> None:
    out = tmp_path / "out.xz"
    first = start(*arguments(big, ".xz"), "--out", out)
    wait_for(first, out, 1)
    code, said = finish(start(*arguments(big, ".xz"), "--out", out))
    assert code == 75
    assert said.startswith(f"nbest: error: {out}.nbest-partial: another run is writing this output")
    assert finish(first)[0] == 0
    assert content(out) == expected(".xz")


def test_a_corrupt_journal_costs_work_and_no_bytes(
    big: Path, tmp_path: Path, start: Start, expected: Callable[..., Any]
) -> None:
    out = tmp_path / "out.bz2"
    process = start(*arguments(big, ".bz2"), "--out", out)
    wait_for(process, out, 3)
    process.kill()
    finish(process)
    journal = tmp_path / "out.bz2.nbest-partial" / "journal"
    lines = journal.read_bytes().split(b"\n")
    journal.write_bytes(b"\n".join([*lines[:2], b"?" + lines[2], *lines[3:]]))
    code, said = finish(start(*arguments(big, ".bz2"), "--out", out))
    assert (code, "nbest: 1 of 5 blocks were finished by an earlier run" in said) == (0, True)
    assert content(out) == expected(".bz2")


def test_models_in_one_process_or_in_three_write_the_same(
    big: Path, tmp_path: Path, start: Start, tiny: Path
) -> None:
    weights = tmp_path / "w.json"
    weights.write_text(WEIGHTS.replace('"LM0": 1', '"LM0": 1, "tiny": 0.5'))
    summaries = set()
    for jobs in (1, 3):
        out = tmp_path / f"out-{jobs}"
        given = [big / "lists.gz", "--lm", tiny, "--weights", weights, "--jobs", jobs, "--out", out]
        code, said = finish(start(*given))
        assert code == 0, said
        summaries.add(said.split("  seconds")[0].split("\n")[-1])
    assert (tmp_path / "out-1").read_bytes() == (tmp_path / "out-3").read_bytes()
    (summary,) = summaries  # counts are added up from all processes, block by block
    assert summary.startswith(f"lists {LISTS}  hypotheses {10 * LISTS}  changed 1-bests ")
    assert " different texts, " in summary


def children(process: "subprocess.Popen[bytes]") -> list[int]:
    """The processes that work for it: Python's own tracker of resources is none."""
    task = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    found = [int(one) for one in task.read_text().split()]
    return [one for one in found if b"spawn_main" in Path(f"/proc/{one}/cmdline").read_bytes()]


def test_a_worker_that_is_killed_is_replaced(
    big: Path, tmp_path: Path, start: Start, expected: Callable[..., Any]
) -> None:
    out = tmp_path / "out.xz"
    process = start(*arguments(big, ".xz"), "--jobs", 2, "--out", out)
    wait_for(process, out, 1)
    for worker in children(process):
        os.kill(worker, signal.SIGKILL)
    code, said = finish(process)
    assert code == 0
    assert "nbest: warning: a worker process was killed by SIGKILL" in said
    assert content(out) == expected(".xz")


def test_killed_it_leaves_no_process(big: Path, tmp_path: Path, start: Start) -> None:
    process = start(*arguments(big, ".xz"), "--jobs", 2, "--out", tmp_path / "out.xz")
    wait_for(process, tmp_path / "out.xz", 1)
    workers = children(process)
    assert len(workers) == 2
    process.kill()
    process.wait()
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{one}").exists() for one in workers):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_streams_cannot_be_taken_up(run: Any, big: Path, tmp_path: Path) -> None:
    for given in ([big / "lists.gz"], ["-", "--out", tmp_path / "out"]):
        result = run("rescore", *given, "--resume", given=line(0, 0))
        assert result.exit_code == 2
        expected = "error: --resume: a stream cannot be taken up again; expected files; got "
        assert expected in result.stderr
    assert not list(tmp_path.glob("out*"))


def test_a_full_disk_is_said_and_what_is_finished_is_kept(
    big: Path, tmp_path: Path, start: Start, expected: Callable[..., Any]
) -> None:
    """As far as a limit on the size of files goes for a disk that is full."""
    out = tmp_path / "out"
    whole = len(expected("")[""])
    limit = f"ulimit -f {whole // 2 // 1024}; trap '' XFSZ; exec \"$@\""
    command = [*RESCORE, *map(str, arguments(big, ""))]
    done = subprocess.run(
        ["bash", "-c", limit, "x", *command, "--out", str(out)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    kept, error, _ = done.stderr.split("\n")
    assert kept.startswith("nbest: 2 of 5 blocks are kept, the same command goes on with them: ")
    assert error == (
        f"nbest: error: {out}.nbest-partial: the unfinished output cannot be written: File too large"
    )
    code, said = finish(start(*arguments(big, ""), "--out", out))
    assert (code, "nbest: 2 of 5 blocks were finished" in said) == (0, True)
    assert content(out) == expected("")


def test_progress_is_said_where_it_is_asked_for(run: Any, big: Path, tmp_path: Path) -> None:
    given = ["rescore", *arguments(big, "")]
    silent = run(*given, "--out", tmp_path / "out").stderr
    said = run(*given, "--out", tmp_path / "out", "--progress").stderr
    (more,) = (
        set(said.split("\n")) - set(silent.split("\n")) - {s for s in said.split("\n") if "seconds" in s}
    )
    assert more.startswith("2,500 of 2,500 lists, 25,000 of 25,000 hypotheses, ")
    assert more.endswith(" hypotheses/s, 0:00 left")


def test_failed_lists_are_written_by_id_and_the_run_goes_on(run: Any, lists: Path, tmp_path: Path) -> None:
    broken = lists.read_text().replace("LM0= -2", "LM0= nan")
    lists.write_text(f"{broken}2 ||| a ||| LM0= 1 TM0= 1 1 ||| 1\n")
    out, failed = tmp_path / "out", tmp_path / "failed.jsonl"
    stopped = run("rescore", lists, "--out", out)
    assert (stopped.exit_code, out.exists()) == (2, False)
    result = run("rescore", lists, "--out", out, "--failed", failed)
    assert result.exit_code == 3
    assert f"warning: 1 lists were set aside: {failed}" in result.stderr
    assert [one.split(" ")[0] for one in out.read_text().split("\n")] == ["0", "0", "2", ""]
    error = f"{lists}:3: feature LM0 is not finite; expected a finite number; got 'nan'"
    assert json.loads(failed.read_text()) == {"id": "1", "source": str(lists), "line": 3, "error": error}
    limited = run("rescore", lists, "--out", tmp_path / "no", "--failed", failed, "--max-failed", 0)
    assert (limited.exit_code, "expected at most 0; got 1" in limited.stderr) == (2, True)
    assert not (tmp_path / "no").exists()
    well = tmp_path / "well"
    well.write_text(
        "".join(one for one in lists.read_text().splitlines(keepends=True) if not one.startswith("1 "))
    )
    fine = run("rescore", well, "--out", out, "--failed", failed)
    assert (fine.exit_code, failed.read_text()) == (0, "")
    best = run("rescore", lists, "--one-best", "--failed", failed)
    assert (best.exit_code, best.stdout) == (3, "a man is writing\n\na\n")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--max-failed", "3"], "--max-failed: no list is set aside; expected --failed FILE"),
        (["--resume", "--restart"], "--resume: taken up or started over; expected no --restart"),
        (["--jobs", "many"], "--jobs: not a number of processes; expected N or auto; got 'many'"),
        (["--failed", "/no/such/place"], "/no/such: no such directory"),
        (
            ["--engine", "ray", "--server", "http://localhost:1", "--lm", "small"],
            "--engine ray: the models of a server are not on a cluster; expected no --server",
        ),
        (["--device", "cuda"], "--device: no model to run there; expected --lm"),
    ],
)
def test_options_that_make_no_sense(run: Any, lists: Path, given: list[str], message: str) -> None:
    result = run("rescore", lists, *given)
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"nbest: error: {message}" in result.stderr


def test_where_ray_is_not_installed_the_extra_is_named(
    run: Any, lists: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_cluster, "find_spec", lambda _: None)
    result = run("rescore", lists, "--engine", "ray", "--out", tmp_path / "out")
    assert (result.exit_code, (tmp_path / "out").exists()) == (2, False)
    error = "nbest: error: --engine ray: Ray is not installed; expected pip install 'nbest[ray]'"
    assert error in result.stderr


def test_a_small_file_leaves_nothing_beside_it(run: Any, lists: Path, tmp_path: Path) -> None:
    assert len(lists.read_text().split("\n")) < BLOCK_HYPOTHESES
    before = {one.name for one in tmp_path.iterdir()}
    assert run("rescore", lists, "--out", tmp_path / "out").exit_code == 0
    assert {one.name for one in tmp_path.iterdir()} - before == {"out"}


def test_nemos_lists_of_several_sizes(run: Any, tmp_path: Path) -> None:
    lists, sizes = tmp_path / "beams.tsv", tmp_path / "sizes"
    lists.write_text("hello world\t-1.5\nhello word\t-1\none\t-4\n")
    sizes.write_text("2\n1\n")
    result = run("rescore", lists, "--beam-size", sizes)
    assert (result.exit_code, result.stdout) == (0, "hello word\t-1\nhello world\t-1.5\none\t-4\n")
    refused = run("rescore", lists, "--beam-size", sizes, "--failed", tmp_path / "failed")
    assert (
        "error: --failed with NeMo's format: its lists have no names; expected --one-best" in refused.stderr
    )
    sizes.write_text("2\nx\n")
    wrong = run("rescore", lists, "--beam-size", sizes)
    assert f"{sizes}:2: not the size of a list; expected a number; got 'x'" in wrong.stderr


def test_an_id_in_two_blocks_is_one_list_in_one_block(big: Path, tmp_path: Path, start: Start) -> None:
    """Such a file cannot be cut; it is one block, whatever the number of processes."""
    lists = tmp_path / "lists"
    first = "".join(line(n, k) for n in range(700) for k in range(10))
    lists.write_text(first + line(3, 77))
    code, said = finish(
        start(lists, "--weights", big / "weights.json", "--jobs", 2, "--out", tmp_path / "out")
    )
    assert (code, "the whole file is held in memory" in said) == (0, True)
    ids = [one.split(" ")[0] for one in (tmp_path / "out").read_text().split("\n")[:-1]]
    assert ids == sorted(ids, key=int)
    assert ids.count("3") == 11


def test_a_stream_that_is_cut_says_where(run: Any, big: Path, tmp_path: Path) -> None:
    packed = (big / "lists.gz").read_bytes()
    (tmp_path / "lists.gz").write_bytes(packed[: len(packed) // 2])
    for more in ([], ["--failed", tmp_path / "failed"]):
        result = run("rescore", tmp_path / "lists.gz", *more, "--out", tmp_path / "out")
        assert (result.exit_code, "broken or truncated stream" in result.stderr) == (2, True)
    assert not list(tmp_path.glob("out*"))
