"""Blocks, outputs and the loop between them, with models of a few lines."""

import gzip
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nbest.errors import FeatureError, FormatError, InputError, LimitError, NonFiniteFeatureError
from nbest.files import open_bytes
from rescoring.batch import output as outputs
from rescoring.batch.block import Block, Done, Settings, rescore_block
from rescoring.batch.journal import partial_of
from rescoring.batch.run import Summary, run
from rescoring.formats import open_blocks, read_nbest, write_nbest, write_one_best
from rescoring.formats.aside import Failure
from rescoring.formats.notes import Notes
from rescoring.pipeline import rescore
from rescoring.scorer import ScoreArrays
from rescoring.weights import WeightSet

ENDINGS = ["", ".gz", ".bz2", ".xz", ".zst"]


class Lengths:
    """Scores a text by its words; fails on the word `bad`, gives NaN for `nan`."""

    name, digest = "lengths", "sha256:1"

    def score(self, texts: Sequence[str]) -> ScoreArrays:
        if any("bad" in text for text in texts):
            raise ValueError("a bad word")
        numbers = [np.nan if "nan" in text else -float(len(text)) for text in texts]
        counts = np.array([text.count(" ") + 2 for text in texts])
        return ScoreArrays(np.array(numbers), counts, 0 * counts)


def moses(lists: int, words: Callable[[int, int], str] = lambda n, k: f"a man is {(n - k) % 7 * 'x'}") -> str:
    lines = [
        f"{n} ||| {words(n, k)} ||| LM0= -{k} TM0= -1 -{n}.5 ||| -5.5\n"
        for n in range(lists)
        for k in range(3)
    ]
    return "".join(lines)


WEIGHTS = WeightSet({"LM0": (1.0,), "TM0": (0.5, 0.0), "lengths": (2.0,)})


def settings_for(out: Path, format_name: str = "moses", **more: Any) -> Settings:
    return Settings(format_name, str(out), WEIGHTS, **more)


def here(settings: Settings) -> Callable[[Iterable[Block]], Iterator[Done]]:
    return partial(map, partial(rescore_block, settings=settings, scorers=[Lengths()]))


class Killed(BaseException):
    """As good as a kill: nobody catches it, nothing is tidied up after it."""


def batch(
    source: Path,
    settings: Settings,
    *,
    size: int = 6,
    identity: dict[str, Any] | None = None,
    kill_at: int | None = None,
    external: Sequence[tuple[str, Path]] = (),
    most: int | None = None,
    restart: bool = False,
) -> tuple[Summary, list[int]]:
    """What a run came to, and which blocks it computed."""
    computed: list[int] = []

    def engine(blocks: Iterable[Block]) -> Iterator[Done]:
        for block in blocks:
            if block.number == kill_at:
                raise Killed
            computed.append(block.number)
            yield rescore_block(block, settings, [Lengths()])

    with open_blocks(source, size=size, set_aside=settings.set_aside) as lists:
        summary = Summary(Notes(settings.out), list(lists.failures))
        if identity is None:
            place = outputs.straight(settings, lists.source)
        else:
            place = outputs.resumable(settings, lists.source, lists.count, identity, restart=restart)
        with place as out:
            run(lists, settings, external, out, engine, summary, most_failures=most)
    return summary, computed


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("one_best", [False, True])
def test_blocks_make_what_the_whole_makes(tmp_path: Path, ending: str, one_best: bool) -> None:
    """The slow obvious way: all lists at once, written by one writer."""
    source = tmp_path / "in"
    source.write_text(moses(20))
    ranked = rescore(read_nbest(source), [Lengths()], WEIGHTS)
    if one_best:
        write_one_best(ranked.lists, ranked.best, tmp_path / "whole")
    else:
        write_nbest(ranked.lists, tmp_path / "whole", totals=ranked.totals)
    for size in (1, 6, 7, 1000):
        out = tmp_path / f"out{ending}"
        summary, _ = batch(source, settings_for(out, one_best=one_best), size=size)
        with open_bytes(out) as stream:
            assert stream.read() == (tmp_path / "whole").read_bytes()
        assert (summary.lists, summary.hypotheses) == (20, 60)
        assert summary.changed == int(ranked.changed.sum()) > 0
        assert summary.scored[0][1] > 0


def source_of(kind: str, folder: Path) -> Path:
    """Lists of a kind, of several blocks."""
    (folder / "moses").write_text(moses(12))
    lists = read_nbest(folder / "moses")
    if kind == "moses":
        return folder / "moses"
    source = folder / f"lists.{kind}"
    if kind != "kaldi":
        if kind in ("nemo", "fairseq", "mlm", "espnet"):
            lists = read_nbest(folder / "moses", keep_total=True)
        write_nbest(lists, source, kind)
        return source
    for job in range(4):  # a block is made of whole archives
        write_nbest(lists.select(range(3 * job, 3 * job + 3)), folder / "part", "kaldi")
        (source / f"archives.{job + 1}").parent.mkdir(exist_ok=True)
        shutil.move(folder / "part" / "archives.1", source / f"archives.{job + 1}")
        shutil.rmtree(folder / "part")
    (source / "num_jobs").write_text("4\n")
    return source


def content(place: Path) -> dict[str, bytes]:
    if place.is_file():
        return {"": place.read_bytes()}
    return {str(one.relative_to(place)): one.read_bytes() for one in place.rglob("*") if one.is_file()}


KINDS = ["moses", "jsonl", "kaldi", "srilm", "mlm", "espnet", "fairseq"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("one_best", [False, True])
def test_a_killed_run_is_taken_up(tmp_path: Path, kind: str, one_best: bool) -> None:
    source = source_of(kind, tmp_path)
    weights = None if kind in ("mlm", "espnet", "fairseq") else WEIGHTS
    if kind in ("kaldi", "srilm"):
        weights = WeightSet({"LM0": (1.0,), "TM0_0": (0.5,), "TM0_1": (0.0,), "lengths": (2.0,)})
    ending = ".gz" if kind in ("moses", "mlm") else ""

    def settings(name: str) -> Settings:
        return Settings(kind, str(tmp_path / f"{name}{ending}"), weights, "ignore", one_best=one_best)

    whole, computed = batch(source, settings("whole"))
    expected = content(tmp_path / f"whole{ending}")
    blocks = len(computed)
    assert blocks == (1 if kind == "espnet" else 4 if kind == "kaldi" else 6)
    for kill_at in range(blocks):
        with pytest.raises(Killed):
            batch(source, settings("out"), identity={"x": 1}, kill_at=kill_at)
        assert not (tmp_path / f"out{ending}").exists()
        assert partial_of(settings("out").out).exists() == (kill_at > 0)
        again, computed = batch(source, settings("out"), identity={"x": 1})
        assert computed == list(range(kill_at, blocks))
        assert content(tmp_path / f"out{ending}") == expected
        assert not partial_of(settings("out").out).exists()
        whole.notes.source = again.notes.source
        whole_notes, again_notes = vars(whole.notes), vars(again.notes)
        assert {**vars(again), "notes": again_notes} == {**vars(whole), "notes": whole_notes}
        place = tmp_path / f"out{ending}"
        shutil.rmtree(place) if place.is_dir() else place.unlink()


@pytest.mark.parametrize("kind", ["moses", "mlm", "kaldi"])
def test_an_old_output_stays_until_the_new_one_is_whole(tmp_path: Path, kind: str) -> None:
    source = source_of(kind, tmp_path)
    settings = Settings(kind, str(tmp_path / "out"), None, "ignore", one_best=kind == "kaldi")
    (tmp_path / "out").write_text("old")
    (tmp_path / "out").chmod(0o640)
    if kind == "kaldi":
        settings = Settings(kind, str(tmp_path / "out"), WeightSet({"LM0": (1.0,)}), "ignore")
        (tmp_path / "out").unlink()
        shutil.copytree(source, tmp_path / "out")
    before = content(tmp_path / "out")
    with pytest.raises(Killed):
        batch(source, settings, identity={}, kill_at=2)
    assert content(tmp_path / "out") == before
    batch(source, settings, identity={})
    assert content(tmp_path / "out") != before
    if kind != "kaldi":
        assert (tmp_path / "out").stat().st_mode & 0o777 == 0o640


def killed(tmp_path: Path, kind: str = "moses") -> tuple[Path, Settings, bytes]:
    """A run of six blocks, killed at the fifth; and what it would have written."""
    source = source_of(kind, tmp_path)
    settings = Settings(kind, str(tmp_path / "out"), None, "ignore")
    batch(source, settings, identity={})
    expected = Path(settings.out).read_bytes()
    Path(settings.out).unlink()
    with pytest.raises(Killed):
        batch(source, settings, identity={}, kill_at=4)
    return source, settings, expected


@pytest.mark.parametrize("kind", ["moses", "mlm"])
def test_an_unfinished_output_cut_or_changed_anywhere(tmp_path: Path, kind: str) -> None:
    source, settings, expected = killed(tmp_path, kind)
    partial = tmp_path / "kept"
    shutil.copytree(partial_of(settings.out), partial)
    unfinished = (partial / "output").read_bytes()
    assert expected.startswith(unfinished)
    changes = [unfinished + b"torn", unfinished[:-1], unfinished[: len(unfinished) // 2], b"", None]
    changes.append(unfinished[:50] + b"?" + unfinished[51:])
    for change, first in zip(changes, [4, 3, 2, 0, 0, 0], strict=True):
        shutil.copytree(partial, partial_of(settings.out), dirs_exist_ok=True)
        (partial_of(settings.out) / "output").write_bytes(change or b"")
        if change is None:
            (partial_of(settings.out) / "output").unlink()
        _, computed = batch(source, settings, identity={})
        assert (computed[0], Path(settings.out).read_bytes()) == (first, expected)
        Path(settings.out).unlink()


@pytest.mark.parametrize("kind", ["moses", "mlm", "kaldi"])
def test_a_run_killed_after_its_last_step(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The output has its name, and what was beside it is still there."""
    source = source_of(kind, tmp_path)
    settings = Settings(kind, str(tmp_path / "out"), WeightSet({"score": (1.0,)}), "ignore")
    if kind != "mlm":
        settings = Settings(kind, str(tmp_path / "out"), WeightSet({"LM0": (1.0,)}), "ignore")

    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(outputs, "remove", die)
        batch(source, settings, identity={})
    before = content(tmp_path / "out")
    assert partial_of(settings.out).exists()
    summary, computed = batch(source, settings, identity={})
    assert (computed, summary.lists, content(tmp_path / "out")) == ([], 12, before)
    assert not partial_of(settings.out).exists()
    # an output that is another one does not pass for it
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(outputs, "remove", die)
        batch(source, settings, identity={})
    changed = tmp_path / "out" if kind != "kaldi" else tmp_path / "out" / "archives.2" / "total"
    changed.write_bytes(changed.read_bytes() + b"x")
    _, computed = batch(source, settings, identity={})
    assert computed[0] in (0, 1)
    assert content(tmp_path / "out") == before


def test_the_folder_taken_away_under_a_run(tmp_path: Path) -> None:
    for kind in ("moses", "kaldi"):
        source = source_of(kind, tmp_path)
        settings = Settings(kind, str(tmp_path / "place" / "out"), WeightSet({"LM0": (1.0,)}), "ignore")
        (tmp_path / "place").mkdir()
        engine = here(settings)

        def vanish(blocks: Iterable[Block], engine: Any = engine) -> Iterator[Done]:
            for done in engine(blocks):
                yield done
                shutil.rmtree(tmp_path / "place", ignore_errors=True)

        with open_blocks(source, size=6) as lists, pytest.raises(InputError) as caught:
            summary = Summary(Notes(settings.out), [])
            with outputs.resumable(settings, lists.source, lists.count, {}) as out:
                run(lists, settings, [], out, vanish, summary)
        assert str(caught.value) == f"{settings.out}.nbest-partial: the unfinished output is gone"
        shutil.rmtree(tmp_path / "place", ignore_errors=True)


def failing(n: int, k: int) -> str:
    return {(4, 1): "a bad text", (9, 0): "nan", (13, 2): "bad"}.get((n, k), f"a man is {k}")


@pytest.mark.parametrize("size", [1, 9, 1000])
def test_lists_that_fail_are_set_aside_and_the_others_are_as_without_them(tmp_path: Path, size: int) -> None:
    source, good = tmp_path / "in", tmp_path / "good"
    source.write_text(moses(15, failing))
    good.write_text(
        "".join(
            line
            for line in source.read_text().splitlines(keepends=True)
            if line.split(" ")[0] not in ("4", "9", "13")
        )
    )
    with pytest.raises((ValueError, FeatureError), match=r"a bad word|not finite"):
        batch(source, settings_for(tmp_path / "out"), size=size)
    assert not (tmp_path / "out").exists()
    summary, _ = batch(source, settings_for(tmp_path / "out", set_aside=True), size=size)
    batch(good, settings_for(tmp_path / "expected"), size=size)
    assert (tmp_path / "out").read_bytes() == (tmp_path / "expected").read_bytes()
    name = str(source)
    scorer = "scorer lengths gave a score that is not finite"
    assert summary.failures == [
        Failure("4", name, 13, "ValueError: a bad word"),
        Failure("9", name, 28, f"text 0: {scorer}; expected a finite number; got nan"),
        Failure("13", name, 40, "ValueError: a bad word"),
    ]
    best, _ = batch(source, settings_for(tmp_path / "out", set_aside=True, one_best=True), size=size)
    lines = (tmp_path / "out").read_text().split("\n")
    assert [n for n, line in enumerate(lines) if not line] == [4, 9, 13, 15]
    assert best.lists == 12
    with pytest.raises(LimitError, match=r"expected at most 1; got [23], the last one"):
        batch(source, settings_for(tmp_path / "out", set_aside=True), size=size, most=1)


def test_failures_of_an_earlier_run_are_remembered(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.write_text(moses(15, failing))
    whole, _ = batch(source, settings_for(tmp_path / "whole", set_aside=True))
    with pytest.raises(Killed):
        batch(source, settings_for(tmp_path / "out", set_aside=True), identity={}, kill_at=5)
    again, _ = batch(source, settings_for(tmp_path / "out", set_aside=True), identity={})
    assert again.failures == whole.failures
    assert (tmp_path / "out").read_bytes() == (tmp_path / "whole").read_bytes()


def test_where_every_list_fails_there_is_no_output(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.write_text(moses(5, lambda n, k: "bad"))
    with pytest.raises(FormatError, match=r"in: every list was set aside; got ValueError: a bad word"):
        batch(source, settings_for(tmp_path / "out", set_aside=True))
    assert not (tmp_path / "out").exists()


def test_a_block_of_failures_leaves_no_comma_in_json(tmp_path: Path) -> None:
    texts = {k: {"hyp_1": {"text": "bad" if k < 3 or k == 7 else f"w {k}", "score": -k}} for k in range(9)}
    (tmp_path / "in").write_text(json.dumps({f"u{k}": one for k, one in texts.items()}))
    settings = Settings("mlm", str(tmp_path / "out.gz"), None, set_aside=True)
    for size in (1, 2, 3):
        batch(tmp_path / "in", settings, size=size)
        again = json.loads(gzip.decompress((tmp_path / "out.gz").read_bytes()))
        assert list(again) == ["u3", "u4", "u5", "u6", "u8"]


def test_score_files_stay_in_step_when_a_run_is_taken_up(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.write_text(moses(12))
    scores = tmp_path / "scores"
    scores.write_text("".join(f"{k * k % 11}\n" for k in range(36)))
    given = [("new", scores)]
    weights = WeightSet({**WEIGHTS.features, "new": (1.5,)})
    whole, out = (Settings("moses", str(tmp_path / name), weights) for name in ("whole", "out"))
    batch(source, whole, external=given)
    with pytest.raises(Killed):
        batch(source, out, identity={}, kill_at=3, external=given)
    batch(source, out, identity={}, external=given)
    assert (tmp_path / "out").read_bytes() == (tmp_path / "whole").read_bytes()
    scores.write_text("1\n" * 35)
    with pytest.raises(FormatError, match="expected 36 lines"):
        batch(source, whole, external=given)
    broken = source.read_text().replace("LM0= -1 TM0= -1 -3.5", "LM0= nan TM0= -1 -3.5")
    source.write_text(broken)
    with pytest.raises(FormatError, match="scores by line are out of step where a list was set aside"):
        batch(source, settings_for(tmp_path / "out", set_aside=True), external=given)
    with pytest.raises(NonFiniteFeatureError):
        batch(source, whole, external=given)
