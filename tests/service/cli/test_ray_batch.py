"""nbest rescore --engine ray, on a Ray of this machine: the same bytes, whatever is killed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from nbest.errors import FormatError, NbestError
from rescoring.batch.block import Block, Done, Settings, rescore_block
from rescoring.formats import open_blocks, write_nbest
from rescoring.weights import WeightSet
from service import ray_cluster
from service.batch import BlockTask, Models

if find_spec("ray") is None:
    pytest.skip("the extra ray is not installed", allow_module_level=True)
ray_cluster.prepare("a test")
pytestmark = [
    pytest.mark.slow,
    # It warns of a setting that it makes itself.
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context"),
]

RESCORE = [sys.executable, "-m", "service.cli.main", "rescore"]
LISTS = 1500  # of 10 hypotheses: three blocks
ACTOR = "ray::MapWorker(MapBatches(_Rescoring))"
Start = Callable[..., "subprocess.Popen[str]"]


def line(number: int, rank: int) -> str:
    words = ("a", "man", "horse", "is", "riding")
    text = " ".join(words[(13 * number + 7919 * rank) // 5**place % 5] for place in range(8))
    return f"{number} ||| {text} ||| LM0= -{(number * rank) % 9}.5 ||| -5.5\n"


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lists of three blocks and weights for them, with a model and without."""
    folder = tmp_path_factory.mktemp("big")
    (folder / "lists").write_text("".join(line(n, k) for n in range(LISTS) for k in range(10)))
    for name, weights in (("weights", {"LM0": 1}), ("small", {"LM0": 1, "small": 0.5})):
        content = {"format": "nbest-weights/1", "features": weights}
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


# In this process: a Ray of three processors, for two actors


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    with ray_cluster.connected(3):
        yield


class Says:
    """What an engine warns of."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def __call__(self, message: str) -> None:
        self.said.append(message)


class Deadly(BlockTask):
    """Kills the process that takes block 1, the first `times` times."""

    def __init__(self, folder: Path, times: int) -> None:
        super().__init__(Settings("moses", "out", WeightSet({"LM0": (1.0,)})), Models(()))
        object.__setattr__(self, "folder", folder)
        object.__setattr__(self, "times", times)

    def __call__(self) -> Callable[[Block], Done]:
        def work(block: Block) -> Done:
            begun = len(list(self.folder.iterdir()))  # type: ignore[attr-defined]
            if block.number == 1 and begun < self.times:  # type: ignore[attr-defined]
                (self.folder / str(begun)).touch()  # type: ignore[attr-defined]
                os.kill(os.getpid(), signal.SIGKILL)
            return rescore_block(block, self.settings, [])

        return work


@pytest.fixture
def by_value() -> Iterator[None]:
    """Classes of this module go to processes that cannot import it."""
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


def blocks_of(big: Path) -> Iterable[Block]:
    with open_blocks(big / "lists", size=2_000) as blocks:
        return [Block(number, 200 * number, one) for number, one in enumerate(blocks)]


@pytest.mark.usefixtures("cluster", "by_value")
def test_a_block_whose_process_was_killed_is_done_again(big: Path, tmp_path: Path) -> None:
    from service.ray_batch import running

    task, says, blocks = Deadly(tmp_path, 2), Says(), list(blocks_of(big))
    with running(task, 2, len(blocks), says) as engine:
        found = list(engine(blocks))
    assert len(list(tmp_path.iterdir())) == 2
    assert [done.piece for done in found] == [rescore_block(b, task.settings, []).piece for b in blocks]
    assert says.said == ["a worker process ended at block 2 (lists '200' to '399'); another takes its place"]


@pytest.mark.usefixtures("cluster", "by_value")
def test_a_block_that_kills_every_process_ends_the_run(big: Path, tmp_path: Path) -> None:
    from service.ray_batch import running

    blocks = list(blocks_of(big))
    with running(Deadly(tmp_path, 99), 2, len(blocks), Says()) as engine:
        with pytest.raises(NbestError, match=r"3 worker processes died at block 2 \(lists '200' to '399'\)"):
            list(engine(blocks))
    assert len(list(tmp_path.iterdir())) == 3


class Broken:
    """Blocks that cannot be read to their end."""

    def __init__(self, blocks: list[Block]) -> None:
        self.blocks = blocks

    def __iter__(self) -> Iterator[Block]:
        yield from self.blocks[:2]
        raise FormatError("no list", where="lists:7", expected="one", got="none")


@pytest.mark.usefixtures("cluster", "by_value")
def test_what_goes_wrong_in_reading_is_raised_behind_what_was_read(big: Path, tmp_path: Path) -> None:
    from service.ray_batch import running

    found = []
    with running(Deadly(tmp_path, 0), 2, 8, Says()) as engine:
        with pytest.raises(FormatError, match="lists:7: no list; expected one; got none"):
            found.extend(one.number for one in engine(Broken(list(blocks_of(big)))))


@pytest.mark.usefixtures("cluster")
def test_one_processor_is_always_left(big: Path) -> None:
    from service.ray_batch import running

    says = Says()
    task = BlockTask(Settings("moses", "out", WeightSet({"LM0": (1.0,)})), Models(()))
    with running(task, 3, 8, says) as engine:
        assert len(list(engine(blocks_of(big)))) == 8
    assert says.said == ["the cluster has room for 2 processes, not for 3"]


@pytest.mark.usefixtures("cluster")
def test_a_cluster_without_room(run: Any, big: Path, tmp_path: Path) -> None:
    given = ["rescore", big / "lists", "--lm", "small", "--weights", big / "small.json", "--engine", "ray"]
    result = run(*given, "--threads", 3, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert (
        "error: --engine ray: the cluster has no room for a process; expected 4 processors; "
        "got 3 processors, 0 GPUs" in result.stderr
    )
    result = run(*given, "--threads", 1, "--device", "cuda", "--out", tmp_path / "out")
    assert (result.exit_code, "expected 2 processors and a GPU; got 3 processors" in result.stderr) == (
        2,
        True,
    )
    assert not list(tmp_path.glob("out*"))


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize("kind", ["moses", "one best", "kaldi", "set aside", "model"])
def test_the_bytes_are_those_of_the_local_engine(
    run: Any, big: Path, tmp_path: Path, tiny: Path, kind: str
) -> None:
    lists, weights, more = big / "lists", big / "weights.json", ()
    if kind == "one best":
        more = ("--one-best",)
    elif kind == "kaldi":
        with open_blocks(lists) as blocks:
            for job, block in enumerate(blocks, 1):
                write_nbest(block, tmp_path / f"part{job}", "kaldi")
                (tmp_path / "kaldi").mkdir(exist_ok=True)
                (tmp_path / f"part{job}" / "archives.1").rename(tmp_path / "kaldi" / f"archives.{job}")
        (tmp_path / "kaldi" / "num_jobs").write_text(f"{job}\n")
        lists = tmp_path / "kaldi"
    elif kind == "set aside":
        lists = tmp_path / "lists"
        broken = (
            (big / "lists").read_text().replace("\n700 |||", "\n700 ||| a ||| LM0= nan ||| 1\n700 |||", 1)
        )
        lists.write_text(broken)
        more = ("--failed", tmp_path / "failed")
    elif kind == "model":
        weights = tmp_path / "w.json"
        weights.write_text(json.dumps({"format": "nbest-weights/1", "features": {"LM0": 1, "tiny": 0.5}}))
        more = ("--lm", tiny)
    found = []
    for place, engine in enumerate((["--jobs", 1], ["--engine", "ray", "--jobs", 2])):
        out = tmp_path / str(place) / "out"
        out.parent.mkdir()
        result = run("rescore", lists, "--weights", weights, *more, *engine, "--out", out)
        assert result.exit_code == (3 if kind == "set aside" else 0), result.stderr
        aside = (tmp_path / "failed").read_text() if kind == "set aside" else ""
        files = [one for one in (out, *sorted(out.rglob("*"))) if one.is_file()]
        content = {str(one.relative_to(out.parent)): one.read_bytes() for one in files}
        found.append((content, aside, result.stderr.partition("  seconds")[0]))
    assert found[0] == found[1]
    assert found[0][0]
    assert (kind == "set aside") == bool(found[0][1])


# As a command


@pytest.fixture
def start(big: Path) -> Iterator[Start]:
    """Starts a rescoring in the folder of the lists, with relative names. Nothing is left of it."""
    started: list[subprocess.Popen[str]] = []
    with tempfile.TemporaryDirectory(prefix="n") as temporary:

        def begin(*arguments: object, **environment: str) -> "subprocess.Popen[str]":
            process = subprocess.Popen(
                [*RESCORE, "lists", "--lm", "small", "--weights", "small.json", *map(str, arguments)],
                cwd=big,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env={
                    **os.environ,
                    "OMP_NUM_THREADS": "1",
                    "PYTHONPATH": str(Path(__file__).resolve().parents[3]),
                    "TMPDIR": temporary,
                    **environment,
                },
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            )
            started.append(process)
            return process

        yield begin
        for process in started:
            process.kill()
            process.communicate()


def finish(process: "subprocess.Popen[str]") -> tuple[int, str]:
    printed, said = process.communicate(timeout=400)
    return process.returncode, printed + said


@pytest.fixture(scope="module")
def expected(big: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What one local process writes."""
    out = tmp_path_factory.mktemp("expected") / "out.gz"
    given = ["lists", "--lm", "small", "--weights", "small.json", "--jobs", "1", "--out", str(out)]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(Path(__file__).resolve().parents[3]),
    }
    subprocess.run([*RESCORE, *given], cwd=big, check=True, capture_output=True, env=environment)
    return out.read_bytes()


def below(pid: int) -> dict[int, str]:
    """The processes that a process has started, and what those have started: pid -> what it is called."""
    parents, names = {}, {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(place.name)] = int((place / "stat").read_text().rpartition(")")[2].split()[1])
            names[int(place.name)] = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
    found: set[int] = set()
    new = {pid}
    while new:
        new = {one for one, parent in parents.items() if parent in new} - found
        found |= new
    return {one: names[one] for one in found}


def wait_for(process: "subprocess.Popen[str]", there: Callable[[], Any]) -> None:
    """Until something is there, while the process works."""
    while not there():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


def has_finished(out: Path, blocks: int) -> bool:
    journal = out.with_name(f"{out.name}.nbest-partial") / "journal"
    return journal.exists() and journal.read_bytes().count(b"\n") > blocks


def wait_until_gone(pids: Iterable[int], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    for pid in pids:
        while _runs(pid):
            assert time.monotonic() < deadline, Path(f"/proc/{pid}/cmdline").read_text()
            time.sleep(0.05)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_an_actor_that_is_killed_loses_nothing(
    start: Start, big: Path, tmp_path: Path, expected: bytes
) -> None:
    """And Ray says nothing, calls nobody, leaves neither processes nor files."""
    out = tmp_path / "out.gz"
    process = start("--engine", "ray", "--jobs", 2, "--out", out)
    wait_for(process, lambda: f"{ACTOR}.submit" in str(below(process.pid)))
    time.sleep(1)  # the block is begun by now: what is killed is at work
    started = below(process.pid)
    (reporting,) = (pid for pid, name in started.items() if "dashboard.py" in name)
    assert "--disable-frontend" in started[reporting]
    assert b"\0RAY_USAGE_STATS_ENABLED=0\0" in b"\0" + Path(f"/proc/{reporting}/environ").read_bytes()
    killed = [pid for pid, name in started.items() if name.startswith(ACTOR)]
    assert killed
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    code, said = finish(process)
    assert code == 0, said
    assert out.read_bytes() == expected
    *warnings, summary, signature, end = said.split("\n")
    assert {one.partition(" at block ")[0] for one in warnings} <= {"nbest: warning: a worker process ended"}
    assert summary.startswith(f"lists {LISTS}  hypotheses {10 * LISTS}  changed 1-bests ")
    assert (signature.partition(":")[0], end) == ("signature nbest", "")
    wait_until_gone(started, 30)
    assert [one.name for one in tmp_path.iterdir()] == ["out.gz"]


def test_killed_it_is_taken_up_by_the_local_engine(start: Start, tmp_path: Path, expected: bytes) -> None:
    out = tmp_path / "out.gz"
    process = start("--engine", "ray", "--jobs", 1, "--out", out)
    wait_for(process, lambda: has_finished(out, 1))
    started = below(process.pid)
    process.kill()
    finish(process)
    code, said = finish(start("--jobs", 1, "--out", out))
    assert code == 0, said
    assert f" of 3 blocks were finished by an earlier run: {out}.nbest-partial" in said
    assert out.read_bytes() == expected
    wait_until_gone(started, 180)  # its agents first try to tell a server that is gone


@pytest.mark.parametrize(
    ("number", "code", "words"),
    [(signal.SIGINT, 130, "nbest: interrupted"), (signal.SIGTERM, 143, "nbest: stopped by SIGTERM")],
)
def test_stopped_it_leaves_no_process_and_goes_on_from_there(
    start: Start, tmp_path: Path, expected: bytes, number: signal.Signals, code: int, words: str
) -> None:
    out = tmp_path / "out.gz"
    process = start("--engine", "ray", "--jobs", 1, "--out", out)
    wait_for(process, lambda: has_finished(out, 1))
    started = below(process.pid)
    time.sleep(0.3)  # the block is on the disk; now it counts, too
    process.send_signal(number)
    ended, said = finish(process)
    kept, stopped, _ = said.split("\n")
    assert (ended, stopped) == (code, words)
    assert kept.endswith(f"of 3 blocks are kept, the same command goes on with them: {out}.nbest-partial")
    wait_until_gone(started, 30)
    code, said = finish(start("--engine", "ray", "--jobs", 1, "--out", out))
    assert (code, " of 3 blocks were finished by an earlier run" in said) == (0, True)
    assert out.read_bytes() == expected


def test_a_machine_that_goes_loses_nothing(
    start: Start, tmp_path: Path, expected: bytes, monkeypatch: pytest.MonkeyPatch, repository: Path
) -> None:
    """A cluster of two machines, as far as Ray knows; the one that only works is gone in the middle."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", str(repository))
    out = tmp_path / "out.gz"
    size = {"object_store_memory": 128 * 1024 * 1024, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, **size})
    try:
        other = cluster.add_node(num_cpus=2, object_store_memory=size["object_store_memory"])
        process = start("--engine", "ray", "--jobs", 5, "--out", out, RAY_ADDRESS=cluster.address)
        wait_for(process, lambda: has_finished(out, 1))
        cluster.remove_node(other, allow_graceful=False)
        cluster.add_node(num_cpus=2, object_store_memory=size["object_store_memory"])
        code, said = finish(process)
    finally:
        left = cluster.head_node.get_session_dir_path()
        cluster.shutdown()
        shutil.rmtree(left, ignore_errors=True)
    assert code == 0, said
    assert "nbest: warning: the cluster has room for 2 processes, not for 5\n" in said
    assert out.read_bytes() == expected
