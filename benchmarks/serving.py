"""What the service costs: throughput, latency, overload and memory against the engine without it.

    python benchmarks/serving.py --model small --data ../shared/data --out benchmarks/results
    python benchmarks/serving.py --model small --quick --force --out /tmp/serving   # a minute: does it run?

`nbest serve` is a process of its own on all processors but the last, where the load is made (where there are
two); the engine alone runs there too, with as many threads, in turn with it. At last the server has all
processors, and the engine as many threads as before. A request is one
list, its answer the best hypothesis, which is compared with what the engine alone says: a wrong one ends the
benchmark. Throughputs are of `--seconds` each, ratios medians over rounds.
"""

import argparse
import asyncio
import itertools
import json
import os
import random
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

import harness
import numpy as np

from nbest.files import write_whole
from rescoring.formats import read_nbest
from rescoring.nbest import Feature, NbestLists
from rescoring.pipeline import rescore
from rescoring.weights import WeightSet

CLIENTS = (1, 8, 64, 256)
MOST = 100  # hypotheses of a list
BLOCK = 5_000  # hypotheses the engine alone is given at a time, as `nbest rescore` does
OVERLOAD, DEADLINE_SECONDS = 4, 1.0
MOST_CONNECTIONS = 400  # of the overload; the server takes 500
TOLERANCE = 2e-3  # nats of a weighted sum: other texts share the batch
LARGE = 1_000_000  # hypotheses of a very large request, for a server that takes it:
LIFTED = ("max-lists", "max-hypotheses", "max-body-bytes", "max-held-bytes", "queue-words")
LIFTED_TO = 2**31
FEW = 40  # lists where the only question is whether it runs
WORDS = (
    "a the man woman dog house is was riding running on in of with small large and to from red blue".split()
)


def main() -> None:
    """Measure and write one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", required=True, help="a shipped model's name or a directory")
    parser.add_argument("--data", type=Path, help="the folder that has mt/; lists are made up without")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each throughput")
    parser.add_argument("--minutes", type=float, default=10.0, help="under load, while memory is watched")
    parser.add_argument("--quick", action="store_true", help="a second of each, one round: does it run?")
    parser.add_argument("--overload-only", action="store_true", help="that alone, into the file there is")
    harness.add_options(parser, rounds=5)
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.seconds, arguments.minutes, arguments.rounds = 1.0, 0.02, 1
    document: dict[str, Any] = {"made": harness.begin(arguments), "model": Path(arguments.model).name}
    lists = lists_of(arguments.data, FEW if arguments.quick else None)
    document |= {"lists": len(lists), "hypotheses": len(lists.texts), "quick": arguments.quick}
    servers, clients = processors()
    document["processors"] = {"server": sorted(servers), "load": sorted(clients)}
    os.sched_setaffinity(0, clients)
    with engine(arguments.model, lists, arguments.threads, servers) as alone:
        work = Work(Path(arguments.model).name, lists, alone.ask("answers"))
        with serving(arguments.model, arguments.threads, servers) as server:
            benchmark = Benchmark(server, work, alone, arguments)
            if arguments.overload_only:
                overload = asyncio.run(benchmark.run_overload()) | {"made": document["made"]}
                document = json.loads((arguments.out / "serving.json").read_text()) | {"overload": overload}
            else:
                document |= asyncio.run(benchmark.run())
        if not arguments.overload_only:
            with serving(arguments.model, arguments.threads, servers, lifted=True) as server:
                document |= asyncio.run(Benchmark(server, work, alone, arguments).run_behind())
            with serving(arguments.model, arguments.threads, servers | clients) as server:
                document |= asyncio.run(Benchmark(server, work, alone, arguments).run_spread())
    arguments.out.mkdir(parents=True, exist_ok=True)
    with write_whole(arguments.out / "serving.json") as stream:
        stream.write((json.dumps(document, indent=1) + "\n").encode())


def processors() -> tuple[set[int], set[int]]:
    """Of the server and of the load; the same one where there is no other."""
    all_ = sorted(os.sched_getaffinity(0))
    return (set(all_[:-1]), {all_[-1]}) if len(all_) > 1 else (set(all_), set(all_))


def lists_of(data: Path | None, count: int | None) -> NbestLists:
    """Lists of at most MOST hypotheses: Moses' dev lists, or made-up ones of like size; the first `count`."""
    if data is None:
        return made_up(random.Random(1), count or 200)
    lists = read_nbest(data / "mt" / "dev.distinct.nbest.gz")
    return first_of_each(lists if count is None else lists.select(range(count)), MOST)


def first_of_each(lists: NbestLists, most: int) -> NbestLists:
    """The lists with their first hypotheses only, without what writers need."""
    kept = [row for rows in lists for row in list(rows)[:most]]
    counts = [min(most, len(rows)) for rows in lists]
    return NbestLists(
        ids=lists.ids,
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        texts=tuple(lists.texts[row] for row in kept),
        schema=lists.schema,
        features=lists.features[kept],
        source=lists.source,
    )


def made_up(dice: random.Random, count: int) -> NbestLists:
    """Lists whose hypotheses are variants of one sentence, as a decoder's are."""
    texts: list[str] = []
    for _ in range(count):
        words = dice.choices(WORDS, k=dice.randint(6, 20))
        for _ in range(MOST):
            words = list(words)
            words[dice.randrange(len(words))] = dice.choice(WORDS)
            texts.append(" ".join(words))
    values = np.array([[dice.gauss(-20, 4), dice.gauss(-10, 2)] for _ in texts])
    offsets = np.arange(0, len(texts) + 1, MOST, dtype=np.int64)
    ids = tuple(str(number) for number in range(count))
    return NbestLists(ids, offsets, tuple(texts), (Feature("ac"), Feature("lm")), values)


def weights_of(lists: NbestLists, model: str) -> WeightSet:
    """Some weight for every feature: which ones makes no difference to time."""
    return WeightSet({**{one.name: (0.1,) * one.width for one in lists.schema}, model: (0.5,)})


@dataclass(frozen=True)
class Answer:
    """The best hypothesis of a list, by its place and score; `rival` is the score of the next text."""

    index: int
    score: float
    rival: float

    def agrees(self, index: int, score: float) -> bool:
        """Whether a server's best is this one, or one as good up to rounding."""
        tied = self.score - self.rival < TOLERANCE
        return abs(score - self.score) < TOLERANCE and (index == self.index or tied)


class Work:
    """The requests, encoded once, and the answers that are right."""

    def __init__(self, model: str, lists: NbestLists, answers: Sequence[Answer]) -> None:
        self.model = model
        self.lists = lists
        self.answers = answers
        self.features = weights_of(lists, model).features
        self.requests = [self.request([segment]) for segment in range(len(lists))]
        self.sizes = np.diff(lists.offsets).tolist()

    def request(self, segments: Sequence[int], *, most: int = MOST, **options: Any) -> bytes:
        """A whole HTTP request of these lists."""
        listed = []
        for place, segment in enumerate(segments):
            rows = list(self.lists.rows(segment))[:most]
            hypotheses = [{"text": self.lists.texts[row], "features": self._features(row)} for row in rows]
            listed.append({"id": f"{place}", "hypotheses": hypotheses})
        body = {
            "models": [self.model],
            "weights": {"features": self.features},
            "options": {"top_k": 1, **options},
            "lists": listed,
        }
        return posted("/v1/rescore", json.dumps(body).encode())

    def _features(self, row: int) -> dict[str, Any]:
        values = self.lists.features[row].tolist()
        found: dict[str, Any] = {}
        start = 0
        for feature in self.lists.schema:
            part = values[start : start + feature.width]
            found[feature.name] = part[0] if feature.width == 1 else part
            start += feature.width
        return found

    def check(self, segment: int, content: bytes) -> None:
        """Ends the benchmark at a wrong answer: nothing that it measures would be worth anything."""
        result = json.loads(content)["results"][0]
        best = result["ranking"][0] if "ranking" in result else None
        if best is None or not self.answers[segment].agrees(best["index"], best["score"]):
            sys.exit(f"list {segment}: expected {self.answers[segment]}, got {result}")


def posted(path: str, body: bytes) -> bytes:
    """A POST of JSON on a connection that stays open."""
    head = f"POST {path} HTTP/1.1\r\nHost: nbest\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


LIVEZ = b"GET /livez HTTP/1.1\r\nHost: nbest\r\n\r\n"
METRICS = b"GET /metrics HTTP/1.1\r\nHost: nbest\r\n\r\n"


# The engine alone, in a process of its own where the server runs


class Engine:
    """Orders to the process, answers from it."""

    def __init__(self, pipe: Any) -> None:
        self._pipe = pipe

    def ask(self, order: str, *arguments: Any) -> Any:
        """What the process gives for an order."""
        self._pipe.send((order, arguments))
        return self._pipe.recv()


@contextmanager
def engine(model: str, lists: NbestLists, threads: int, where: set[int]) -> Iterator[Engine]:
    """The engine without a service."""
    import multiprocessing

    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe()
    process = context.Process(target=_engine, args=(theirs, model, lists, threads, where), daemon=True)
    process.start()
    theirs.close()
    try:
        yield Engine(mine)
    finally:
        mine.close()
        process.join(10)


def _engine(pipe: Any, model: str, lists: NbestLists, threads: int, where: set[int]) -> None:
    os.sched_setaffinity(0, where)
    import torch

    from models import catalog

    torch.set_num_threads(threads)
    scorer = catalog.open_scorer(model)
    weights = weights_of(lists, scorer.name)
    blocks = list(_blocks(lists))

    def answers() -> list[Answer]:
        found = []
        for block in blocks:
            ranked = rescore(block, [scorer], weights)
            for segment, rows in enumerate(block):
                order = ranked.order[block.offsets[segment] : block.offsets[segment + 1]]
                best = int(order[0])
                others = [float(ranked.totals[r]) for r in order[1:] if block.texts[r] != block.texts[best]]
                found.append(
                    Answer(best - rows.start, float(ranked.totals[best]), max(others, default=-np.inf))
                )
        return found

    def throughput(seconds: float) -> float:
        done, begun = 0, time.perf_counter()
        for block in cycle(blocks):
            rescore(block, [scorer], weights)
            done += len(block.texts)
            if time.perf_counter() - begun >= seconds:
                return done / (time.perf_counter() - begun)
        raise AssertionError

    def one(segments: Sequence[int]) -> list[float]:
        found = []
        for segment in segments:
            texts = [lists.texts[row] for row in lists.rows(segment)]
            begun = time.perf_counter()
            scorer.score(texts)
            found.append(time.perf_counter() - begun)
        return found

    orders: dict[str, Callable[..., Any]] = {"answers": answers, "throughput": throughput, "one": one}
    while True:
        try:
            order, arguments = pipe.recv()
        except EOFError:
            return
        pipe.send(orders[order](*arguments))


def _blocks(lists: NbestLists) -> Iterator[NbestLists]:
    taken: list[int] = []
    size = 0
    for segment, rows in enumerate(lists):
        taken.append(segment)
        size += len(rows)
        if size >= BLOCK:
            yield lists.select(taken)
            taken, size = [], 0
    if taken:
        yield lists.select(taken)


# The server


@dataclass(frozen=True)
class Server:
    """`nbest serve`, ready."""

    pid: int
    host: str
    port: int

    def resident_bytes(self) -> int:
        """Of the process and all below it: what it shares with others counts in each."""
        parents: dict[int, int] = {}
        resident: dict[int, int] = {}
        for place in Path("/proc").glob("[0-9]*"):
            try:
                fields = (place / "stat").read_text("ascii", "replace").rpartition(")")[2].split()
                pages = int((place / "statm").read_text("ascii").split()[1])
            except (OSError, IndexError, ValueError):
                continue  # it has just ended
            parents[int(place.name)] = int(fields[1])
            resident[int(place.name)] = pages * os.sysconf("SC_PAGE_SIZE")
        total = 0
        for process in resident:
            above: int | None = process
            while above is not None and above != self.pid:
                above = parents.get(above)
            total += resident[process] if above == self.pid else 0
        return total


@contextmanager
def serving(model: str, threads: int, where: set[int], *, lifted: bool = False) -> Iterator[Server]:
    """`nbest serve` as a process of its own, on a free port; ends with the block.

    lifted  its limits are out of the way
    """
    place = Path(model)
    known = ["--models", str(place.parent)] if place.is_dir() else []
    name = place.name
    command = [sys.executable, "-m", "service.cli.main", "serve", "--port", "0", "--no-access-log"]
    command += [f"--{limit}={LIFTED_TO}" for limit in LIFTED if lifted]
    process = subprocess.Popen(
        [*command, "--preload", name, *known],
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, where),
    )
    said: list[str] = []
    try:
        assert process.stderr is not None
        for line in process.stderr:
            said.append(line)
            if "listening on http://" in line:
                host, _, port = line.strip().rpartition("http://")[2].rpartition(":")
                break
        else:
            sys.exit(f"nbest serve ended: {''.join(said)}")
        threading.Thread(target=said.extend, args=(process.stderr,), daemon=True).start()
        server = Server(process.pid, host, int(port))
        asyncio.run(_until_ready(server, process))
        yield server
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


async def _until_ready(server: Server, process: "subprocess.Popen[str]") -> None:
    while process.poll() is None:
        async with Connection(server) as connection:
            status, _, _ = await connection.ask(b"GET /readyz HTTP/1.1\r\nHost: nbest\r\n\r\n")
        if status == 200:
            return
        await asyncio.sleep(0.1)
    sys.exit("nbest serve ended before it was ready")


class Connection:
    """One connection, a request at a time: as little work as HTTP allows, for the load must cost little."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def __aenter__(self) -> "Connection":
        self._reader, self._writer = await asyncio.open_connection(
            self._server.host, self._server.port, limit=2**24
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    async def ask(self, request: bytes) -> tuple[int, bytes, bytes]:
        """Status, head in lower case, body."""
        if self._reader.at_eof():  # idle for so long that the server has closed it
            await self.__aenter__()
        self._writer.write(request)
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0])
        return int(head[9:12]), head, await self._reader.readexactly(length)


# What is measured


@dataclass
class Tally:
    """What came of a stretch of load."""

    seconds: float = 0.0
    hypotheses: int = 0
    latencies: list[float] = field(default_factory=list)
    load_busy: float = (
        0.0  # share of its processor that making the load took: near 1, the load is the bottleneck
    )

    @property
    def lists_per_second(self) -> float:
        """Right answers a second."""
        return len(self.latencies) / self.seconds

    def figures(self) -> dict[str, Any]:
        """As they are written down."""
        return {
            "lists_per_second": round(self.lists_per_second, 1),
            "hypotheses_per_second": round(self.hypotheses / self.seconds),
            **milliseconds(self.latencies),
            "load_busy": round(self.load_busy, 2),
        }


@dataclass
class Overload:
    """What came of more than can be done; `offered` and `goodput` in lists a second."""

    offered: float = 0.0
    goodput: float = 0.0
    unsent: int = 0
    late: int = 0
    latencies: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)


def taken(segments: Iterator[int], sizes: Sequence[int], most: int) -> Iterator[int]:
    """Segments until they have so many hypotheses."""
    count = 0
    while count < most:
        count += sizes[segment := next(segments)]
        yield segment


def milliseconds(seconds: Sequence[float]) -> dict[str, float]:
    """p50, p95, p99 and the most."""
    if not seconds:
        return {}
    at = np.percentile(np.array(seconds) * 1000, [50, 95, 99, 100])
    return dict(zip(("p50_ms", "p95_ms", "p99_ms", "most_ms"), (round(float(x), 2) for x in at), strict=True))


class Benchmark:
    """All measurements of one server."""

    def __init__(self, server: Server, work: Work, alone: Engine, arguments: argparse.Namespace) -> None:
        self._server = server
        self._work = work
        self._alone = alone
        self._seconds: float = arguments.seconds
        self._minutes: float = arguments.minutes
        self._rounds: int = arguments.rounds
        self._order = random.Random(2).sample(range(len(work.requests)), len(work.requests))

    async def run(self) -> dict[str, Any]:
        """Each measurement in turn; each is printed as it comes."""
        await self._load(8, min(self._seconds, 2.0))  # warm
        found: dict[str, Any] = {}
        throughput = await self._throughput()
        found |= said("throughput", throughput)
        found |= said("one list alone", await self._one_alone())
        found |= said("overload", await self._overload())
        found |= said("livez under load", await self._livez())
        return found | said("memory", await self._memory())

    async def run_overload(self) -> dict[str, Any]:
        """More than can be done, alone."""
        await self._load(8, min(self._seconds, 2.0))
        overload = await self._overload()
        said("overload", overload)
        return overload

    async def run_behind(self) -> dict[str, Any]:
        """Of a server that takes a very large request."""
        await self._load(8, min(self._seconds, 2.0))
        return said("behind a large request", await self._behind())

    async def run_spread(self) -> dict[str, Any]:
        """Throughput of a server that has the load's processor too, so that reading and ranking have one."""
        await self._load(8, min(self._seconds, 2.0))
        return said("throughput, server on all processors", await self._throughput((64,)))

    async def _throughput(self, counts: Sequence[int] = CLIENTS) -> dict[str, Any]:
        """At so many clients, each in turn with the engine alone."""
        engine_rates: list[float] = []
        tallies: dict[int, list[Tally]] = {count: [] for count in counts}
        for _ in range(self._rounds):
            rate = await asyncio.to_thread(self._alone.ask, "throughput", self._seconds)
            engine_rates.append(rate)
            for count in counts:
                tallies[count].append(await self._load(count, self._seconds))
        clients = {}
        for count, of_rounds in tallies.items():
            rates = [one.hypotheses / one.seconds for one in of_rounds]
            middle = sorted(of_rounds, key=lambda one: one.lists_per_second)[len(of_rounds) // 2]
            share = harness.median_ratio(rates, engine_rates)
            clients[str(count)] = {**middle.figures(), "share_of_engine": round(share, 3)}
        return {"engine_hypotheses_per_second": round(statistics.median(engine_rates)), "clients": clients}

    async def _load(self, clients: int, seconds: float) -> Tally:
        """So many clients, each with one list after the other, all answers checked.

        Counted is what is answered in `seconds` after each client has had its first answer; all go on
        asking until then, so that neither an empty server at the start nor one that empties counts.
        """
        tally = Tally()
        turn = cycle(self._order)
        waited_for = set(range(clients))
        begun = busy = 0.0
        ends = asyncio.get_running_loop().create_future()

        async def client(number: int) -> None:
            nonlocal begun, busy
            async with Connection(self._server) as connection:
                while True:
                    segment = next(turn)
                    asked = time.perf_counter()
                    status, _, content = await connection.ask(self._work.requests[segment])
                    if status != 200:
                        sys.exit(f"list {segment}: {status} {content[:300]!r}")
                    if not waited_for:
                        tally.latencies.append(time.perf_counter() - asked)
                        tally.hypotheses += self._work.sizes[segment]
                    self._work.check(segment, content)
                    waited_for.discard(number)
                    if not waited_for and not begun:
                        begun, busy = time.perf_counter(), time.process_time()
                        asyncio.get_running_loop().call_later(seconds, ends.set_result, None)

        running = [asyncio.ensure_future(client(number)) for number in range(clients)]
        await asyncio.wait([ends, *running], return_when=asyncio.FIRST_COMPLETED)
        tally.seconds = time.perf_counter() - begun
        tally.load_busy = (time.process_time() - busy) / tally.seconds
        for one in running:
            if one.done():
                one.result()  # raises what ended it
            one.cancel()
        await asyncio.wait(running)
        return tally

    async def _one_alone(self) -> dict[str, Any]:
        """Lists of MOST hypotheses, one at a time, against the bare engine on the same texts."""
        full = [segment for segment in self._order if self._work.sizes[segment] == MOST] or self._order
        some = full[: max(10, int(5 * self._seconds))]
        bare = await asyncio.to_thread(self._alone.ask, "one", some)
        served = []
        async with Connection(self._server) as connection:
            for segment in some:
                begun = time.perf_counter()
                _, _, content = await connection.ask(self._work.requests[segment])
                served.append(time.perf_counter() - begun)
                self._work.check(segment, content)
        return {
            "lists": len(some),
            "engine_ms": round(1000 * statistics.median(bare), 2),
            **milliseconds(served),
            "times_engine": round(harness.median_ratio(served, bare), 2),
        }

    async def _overload(self) -> dict[str, Any]:
        """Right answers at OVERLOAD times the peak of 64 clients, which is measured before each round."""
        rounds: list[tuple[float, Overload]] = []
        for _ in range(self._rounds):
            peak = (await self._load(64, self._seconds)).lists_per_second
            rounds.append((peak, await self._arrivals(peak * OVERLOAD)))
        peaks, overloads = zip(*rounds, strict=True)
        statuses = sum((one.statuses for one in overloads), Counter[int]())
        return {
            "seconds": self._seconds,
            "peak_lists_per_second": round(statistics.median(peaks), 2),
            "times_peak_offered": round(statistics.median(one.offered / peak for peak, one in rounds), 2),
            "unsent_without_a_connection": sum(one.unsent for one in overloads),
            "goodput_of_peak": round(statistics.median(one.goodput / peak for peak, one in rounds), 3),
            "answers": {str(status): count for status, count in sorted(statuses.items())},
            "later_than_1.5_deadlines": sum(one.late for one in overloads),
            **milliseconds([latency for one in overloads for latency in one.latencies]),
        }

    async def _arrivals(self, rate: float) -> "Overload":
        """So many lists a second, whatever becomes of those before; each has a deadline.

        The first two deadlines are not counted: no queue has built up yet.
        """
        requests = {
            segment: self._work.request([segment], deadline_seconds=DEADLINE_SECONDS)
            for segment in self._order[:500]
        }
        turn = cycle(requests)
        free: list[Connection] = []
        found = Overload()
        opened = right = 0
        begun = time.perf_counter()
        counted = begun + 2 * DEADLINE_SECONDS
        ends = counted + max(2.0, self._seconds)

        async def one(segment: int) -> None:
            nonlocal opened, right
            if not free and opened == MOST_CONNECTIONS:
                found.unsent += 1
                return
            opened += not free
            connection = free.pop() if free else await Connection(self._server).__aenter__()
            asked = time.perf_counter()
            status, head, content = await connection.ask(requests[segment])
            took = time.perf_counter() - asked
            free.append(connection)
            found.statuses[status] += 1
            if status == 200:
                self._work.check(segment, content)
                found.latencies.append(took)
                found.late += took > DEADLINE_SECONDS * 1.5
                right += counted <= asked + took < ends
            elif status not in (429, 503) or b"\r\nretry-after:" not in head:
                sys.exit(f"list {segment}: {status} {content[:300]!r}")

        async with asyncio.TaskGroup() as tasks:
            for number in itertools.count():
                at = begun + number / rate
                if at >= ends:
                    break
                if (wait := at - time.perf_counter()) > 0:
                    await asyncio.sleep(wait)
                tasks.create_task(one(next(turn)))
            found.offered = (number + 1) / (time.perf_counter() - begun)
        for connection in free:
            await connection.__aexit__()
        found.goodput = right / (ends - counted)
        return found

    async def _behind(self) -> dict[str, Any]:
        """A list of ten hypotheses while nothing else is asked, and beside a very large request."""
        small = self._work.request(self._order[:1], most=10)
        most = LARGE if self._rounds > 1 else 2000
        segments = taken(cycle(self._order), self._work.sizes, most)
        texts = [self._work.lists.texts[row] for one in segments for row in self._work.lists.rows(one)]
        large = posted("/v1/score", json.dumps({"model": self._work.model, "texts": texts}).encode())

        async def timed() -> float:
            begun = time.perf_counter()
            status, _, content = await one.ask(small)
            if status != 200:
                sys.exit(f"ten hypotheses: {status} {content[:300]!r}")
            return time.perf_counter() - begun

        async with Connection(self._server) as one, Connection(self._server) as other:
            idle = [await timed() for _ in range(30)]
            task = asyncio.create_task(other.ask(large))
            read: list[float] = []
            beside: list[float] = []
            begun = worked = time.perf_counter()
            while not task.done() and (not beside or time.perf_counter() - worked < self._seconds):
                in_work = await self._words_in_work(one) > 0
                (beside if in_work else read).append(await timed())
                if len(beside) <= in_work:
                    worked = time.perf_counter()
                await asyncio.sleep(0.02)
            if task.done() and task.result()[0] != 200:
                sys.exit(f"the large request: {task.result()[0]} {task.result()[2][:300]!r}")
            task.cancel()  # who sent it does not wait for the rest
        middle = statistics.median(idle)
        return {
            "large_hypotheses": len(texts),
            "large_megabytes": round(len(large) / 1e6, 1),
            "idle": milliseconds(idle),
            "read_seconds": round(worked - begun, 2),
            "while_it_is_read": milliseconds(read),
            "beside": milliseconds(beside),
            "times_idle": round(statistics.median(beside) / middle, 2),
        }

    async def _words_in_work(self, connection: Connection) -> float:
        """Of all models, as the server's metrics have it."""
        _, _, content = await connection.ask(METRICS)
        return sum(
            float(line.rpartition(b" ")[2])
            for line in content.splitlines()
            if line.startswith(b"nbest_queue_words{")
        )

    async def _livez(self) -> dict[str, Any]:
        """Every 20 ms beside 64 clients."""
        found: list[float] = []
        load = asyncio.create_task(self._load(64, self._seconds))
        async with Connection(self._server) as connection:
            while not load.done():
                begun = time.perf_counter()
                await connection.ask(LIVEZ)
                found.append(time.perf_counter() - begun)
                await asyncio.sleep(0.02)
        await load
        return milliseconds(found)

    async def _memory(self) -> dict[str, Any]:
        """Beside 64 clients for some minutes."""
        before = self._server.resident_bytes()
        load = asyncio.create_task(self._load(64, 60 * self._minutes))
        found: list[int] = []
        while not load.done():
            await asyncio.sleep(min(5.0, 6 * self._minutes))
            found.append(self._server.resident_bytes())
        tally = await load
        half = max(1, len(found) // 2)
        return {
            "minutes": self._minutes,
            "lists": len(tally.latencies),
            "before_mb": _mb(before),
            "first_half_mb": _mb(statistics.median(found[:half])),
            "second_half_mb": _mb(statistics.median(found[-half:])),
            "most_mb": _mb(max(found)),
        }


def said(name: str, figures: dict[str, Any]) -> dict[str, Any]:
    """Prints and gives back."""
    print(f"{name}: {json.dumps(figures)}", flush=True)
    return {name: figures}


def _mb(size: float) -> float:
    return round(size / 1e6, 1)


if __name__ == "__main__":
    main()
