"""The decoders outside of any container: against the service in a thread, one with a fake recogniser."""

import importlib.util
import io
import sys
import wave
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from tests.conftest import REPOSITORY
from tests.service.conftest import World
from tests.serving import fake, service, start

__all__ = ["fake", "service", "start"]  # fixtures


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def program(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(Path(name).stem, REPOSITORY / "docker/decoders" / name)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


asr, moses = program("asr/recognise.py"), program("moses/rescore.py")


@dataclass
class Spoken:
    """A path as PocketSphinx tells it."""

    hypstr: str
    score: float


class Decoder:
    """Understands by the number of samples it was given."""

    config = {"bestpathlw": 9.5}  # noqa: RUF012

    def __init__(self, **settings: Any) -> None:
        assert settings["samprate"] == 16000

    def start_utt(self) -> None:
        self.count = 0

    def process_raw(self, data: bytes, *, full_utt: bool) -> None:
        assert full_utt
        self.count += len(data) // 2

    def end_utt(self) -> None:
        pass

    def hyp(self) -> Spoken | None:
        return Spoken("a man is writing", 0.5) if self.count > 100 else None

    def nbest(self) -> list[Spoken]:
        return [Spoken("a man is writing", 0.5), Spoken("a man is riding", 0.5), Spoken("", 0.9)]


def record(path: Path, samples: int, rate: int = 16000) -> None:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes(bytes(2 * samples))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, service: Any) -> Path:
    recogniser = ModuleType("pocketsphinx")
    recogniser.Decoder = Decoder  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pocketsphinx", recogniser)
    monkeypatch.setenv("NBEST_URL", service.url)
    monkeypatch.setenv("NBEST_MODEL", "small")
    found = tmp_path / "speech"
    found.mkdir()
    return found


def test_a_recording_is_understood_better_after_the_service_has_had_its_say(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record(folder / "u1.wav", 200)
    record(folder / "u2.wav", 300)
    (folder / "text").write_text("u1 a man is riding\nu9 not there\n")
    assert asr.main(folder) == 0
    said, wrong = capsys.readouterr()
    lines = said.split("\n")
    assert lines[:-2] == [
        "u1 before: a man is writing",
        "u1 after:  a man is riding",
        "u2 before: a man is writing",
        "u2 after:  a man is riding",
        "word errors of 1: 25.0% before, 0.0% after",
    ]
    assert lines[-2].startswith("2 lists rescored by nbest:")
    assert wrong == ""


def test_what_is_not_understood_is_said_and_the_others_printed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record(folder / "noise.wav", 50)
    record(folder / "u1.wav", 200)
    assert asr.main(folder) == 1
    said, wrong = capsys.readouterr()
    assert wrong == "noise: nothing was understood\n"
    assert said.startswith(
        "u1 before: a man is writing\nu1 after:  a man is riding\n1 lists rescored by nbest:"
    )


def test_a_recording_of_another_rate_is_refused(tmp_path: Path) -> None:
    record(tmp_path / "slow.wav", 10, rate=8000)
    with pytest.raises(
        ValueError, match=r"slow.wav: .*expected 16000 Hz, 1 channel, 16 bits; got 8000 Hz, 1, 16"
    ):
        asr.samples(tmp_path / "slow.wav")


def test_texts_have_the_score_of_their_best_path_in_natural_logarithms() -> None:
    paths = [Spoken("b", 0.25), Spoken("a", 0.125), Spoken("b", 0.0625), Spoken("a", 0.5)]
    assert [(one.text, one.features["total"]) for one in asr.ranked(paths)] == [
        ("a", pytest.approx(-709.782712893384)),  # 1024 * ln 0.5
        ("b", pytest.approx(-1419.565425786768)),
    ]


def test_no_more_texts_are_kept_than_a_list_has() -> None:
    paths = [Spoken(str(k), 0.5) for k in range(200)] + [Spoken("3", 0.9)]
    kept = asr.ranked(paths)
    assert len(kept) == 100
    assert kept[0].text == "3"


def test_the_recordings_that_ship_are_as_the_recogniser_wants_them() -> None:
    place = REPOSITORY / "examples/speech"
    recordings = sorted(place.glob("*.wav"))
    assert {path.stem for path in recordings} == set(asr.references(place))
    assert all(asr.samples(path) for path in recordings)
    assert sum(path.stat().st_size for path in recordings) < 2**20


@given(some.lists(some.integers(0, 5), max_size=30), some.integers(1, 8))
def test_blocks_are_whole_lists(numbers: list[int], least: int) -> None:
    numbers.sort()
    lines = [f"{number} ||| text {k} ||| F= 1 ||| -1\n".encode() for k, number in enumerate(numbers)]
    cut = list(moses.blocks(iter(lines), least))
    assert b"".join(block for _, block in cut) == b"".join(lines)
    assert all(lines[first - 1] == block[: len(lines[first - 1])] for first, block in cut)
    held = [{line.split(b" ")[0] for line in block.split(b"\n") if line} for _, block in cut]
    assert sum(map(len, held)) == len(set(numbers))  # no list is in two blocks
    assert all(block.count(b"\n") >= least for _, block in cut[:-1])


def run_moses(lists: bytes, monkeypatch: pytest.MonkeyPatch, url: str, *arguments: str) -> None:
    monkeypatch.setenv("NBEST_URL", url)
    monkeypatch.setattr(sys, "argv", ["rescore.py", *arguments])
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lists)))
    moses.main()


@pytest.mark.parametrize(("block", "in_flight"), [(1, 1), (1, 4), (5, 2), (1000, 3)])
def test_lists_come_out_whole_and_in_order_however_they_are_cut(
    service: Any,
    monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
    block: int,
    in_flight: int,
) -> None:
    texts = ("a man is writing ä", "a man is riding ä")
    lists = "".join(f"{n} ||| {text} ||| F= 1 ||| -1\n" for n in range(20) for text in texts)
    run_moses(
        lists.encode(), monkeypatch, service.url,
        "--model", "small", "--block", str(block), "--in-flight", str(in_flight),
    )  # fmt: skip
    said = capfdbinary.readouterr()
    assert said.err.count(b"untuned") == 1  # the service warns of every block, which is said once
    lines = said.out.decode().splitlines()
    found = [(line.split(" ||| ")[0], line.split(" ||| ")[1].strip(" ")) for line in lines]
    assert found == [(str(n), text) for n in range(20) for text in reversed(texts)]


def test_a_refused_block_ends_it_and_is_named(
    service: Any, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    lists = b"0 ||| a ||| F= 1 ||| -1\n1 ||| a ||| F= one ||| -1\n"
    with pytest.raises(SystemExit, match=r"^block from line 2 on: body:1: feature F has no value"):
        run_moses(lists, monkeypatch, service.url, "--model", "small", "--block", "1", "--in-flight", "1")
    assert capfdbinary.readouterr().out.startswith(b"0 ||| a")
