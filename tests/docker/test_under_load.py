"""What happens to requests in hand when the service in its container is killed, changed, or stopped."""

import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from nbest_client import Client, ConnectionFailedError, Ranking, Rescored, Retry
from tests.docker.conftest import Project, wait_for

pytestmark = pytest.mark.slow

WORDS = "the a man dog house street sees walks big red on in and of to with old new river time".split()
HYPOTHESES, LENGTH = 50, 12
ONCE = Retry(total_seconds=0)
Lists = list[dict[str, Any]]
Sized = Callable[[float], Lists]


def made_up(count: int) -> Lists:
    """Lists whose texts begin alike as good as never, so that each word costs its time."""
    chance = random.Random(count)
    return [
        {
            "id": str(number),
            "hypotheses": [
                {
                    "text": " ".join(chance.choices(WORDS, k=LENGTH)),
                    "features": {"total": -chance.random()},
                }
                for _ in range(HYPOTHESES)
            ],
        }
        for number in range(count)
    ]


def rescored(client: Client, lists: Lists, model: str = "small") -> Rescored:
    return client.rescore(lists, models=[model], weights={"features": {"total": 1.0, model: 1.0}})


def assert_whole(answer: Rescored, lists: Lists) -> None:
    """Every list is answered, with every hypothesis once."""
    for one, result in zip(lists, answer.results, strict=True):
        assert isinstance(result, Ranking), result
        assert result.id == one["id"]
        assert sorted(each.index for each in result.ranking) == list(range(HYPOTHESES))


@pytest.fixture(scope="module")
def lasting(project: Project) -> Sized:
    """Lists that keep this service on this machine busy for so many seconds."""
    with Client(project.url) as client:
        rescored(client, made_up(1))  # the model is loaded
        begin = time.monotonic()
        rescored(client, made_up(8))
        seconds_a_list = (time.monotonic() - begin) / 8
    return lambda seconds: made_up(min(400, max(8, round(seconds / seconds_a_list))))


def test_after_kill_9_it_comes_back_and_the_decoders_lose_nothing(
    project: Project, lasting: Sized, tmp_path: Path
) -> None:
    lists = lasting(6)
    sent = tmp_path / "lists.nbest"
    sent.write_text(
        "".join(
            f"{one['id']} ||| {each['text']} ||| LM0= -1 ||| {each['features']['total']}\n"
            for one in lists
            for each in one["hypotheses"]
        )
    )
    got = tmp_path / "rescored.nbest"
    block = str(max(1, len(lists) // 12) * HYPOTHESES)
    with sent.open("rb") as stdin, got.open("wb") as stdout:
        arguments = ("run", "--rm", "-T", "moses", "--model", "small", "--block", block)
        stream = project.start(*arguments, stdin=stdin, stdout=stdout)
        wait_for(lambda: got.stat().st_size > 0 or stream.poll() is not None, 60)
        assert stream.poll() is None
        before = project.service()
        # Not `docker kill`, which the engine takes for a wish that it stays down.
        os.kill(before["State"]["Pid"], signal.SIGKILL)
        _, err = stream.communicate(timeout=180)
    assert stream.returncode == 0, err
    after = project.service()
    assert after["RestartCount"] == before["RestartCount"] + 1
    assert after["State"]["Running"]
    with Client(project.url) as client:  # it counts from its new start: the rest was answered by the new one
        counts = [
            line for line in client.metrics().split("\n") if line.startswith("nbest_request_seconds_count")
        ]
    assert [line for line in counts if '"/v1/rescore"' in line and '"200"' in line]

    def by_list(path: Path) -> list[tuple[str, list[str]]]:
        grouped: dict[str, list[str]] = {}
        for line in path.read_text().splitlines():
            number, text, *_ = line.split(" ||| ")
            grouped.setdefault(number, []).append(text)
        return [(number, sorted(texts)) for number, texts in grouped.items()]

    assert by_list(got) == by_list(sent)


def test_a_model_is_swapped_while_requests_go_on_and_none_fails(project: Project) -> None:
    shipped = project.folder / "models/pretrained"
    place = project.models / "spoken"
    shutil.copytree(shipped / "small", place)
    shutil.copytree(shipped / "base", project.folder / "fresh")
    lists = made_up(4)
    answers: list[Rescored] = []
    over = threading.Event()

    def ask() -> int:
        done = 0
        with Client(project.url, retry=ONCE) as client:
            while not over.is_set():
                answers.append(rescored(client, lists, "spoken"))
                done += 1
        return done

    with Client(project.url) as client, ThreadPoolExecutor(3) as pool:
        first = client.load("spoken")
        asking = [pool.submit(ask) for _ in range(3)]
        try:
            wait_for(lambda: len(answers) >= 3 or any(one.done() for one in asking), 60)
            place.rename(project.folder / "old")
            (project.folder / "fresh").rename(place)
            second = client.load("spoken")
            so_far = len(answers)
            wait_for(lambda: len(answers) >= so_far + 6 or any(one.done() for one in asking), 60)
        finally:
            over.set()
        assert all(one.result() for one in asking)
    assert (second.changed, second.replaced) == (True, first.digest)
    for answer in answers:
        assert_whole(answer, lists)
    digests = [answer.signature.split("spoken:")[1].split("|")[0] for answer in answers]
    assert set(digests) == {first.digest, second.digest}
    assert digests[-1] == second.digest


def test_what_was_accepted_before_a_stop_is_answered(project: Project, lasting: Sized) -> None:
    lists = lasting(3)
    with Client(project.url, retry=ONCE) as client, ThreadPoolExecutor(3) as pool:

        def words_waiting() -> float:
            lines = client.metrics().split("\n")
            return sum(float(line.split(" ")[1]) for line in lines if line.startswith("nbest_queue_words{"))

        asked = [pool.submit(rescored, client, lists) for _ in range(3)]
        # More than two of the three have: all are in hand.
        wait_for(lambda: words_waiting() > 2.5 * len(lists) * HYPOTHESES * LENGTH, 60, every=0.01)
        assert not any(one.done() for one in asked)
        project.must("stop", seconds=180)
        for one in asked:
            assert_whole(one.result(timeout=1), lists)
        with pytest.raises(ConnectionFailedError):
            rescored(client, lists)
    state = project.service()["State"]
    assert (state["Status"], state["ExitCode"], state["OOMKilled"]) == ("exited", 0, False)


def test_it_starts_again_and_idle_it_stops_at_once(project: Project) -> None:
    project.up()
    begin = time.monotonic()
    project.must("stop", "--timeout", "30", "nbest")
    assert time.monotonic() - begin < 15
    assert project.service()["State"]["ExitCode"] == 0
