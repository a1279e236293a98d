"""nbest convert: every format to every other and back; what has no place is an error, or is said."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nbest.files import write_whole
from rescoring.formats import FORMATS, read_nbest
from rescoring.nbest import NbestLists
from rescoring.text import STEPS
from service.cli.options import LIST_FORMATS

# The same two lists of two hypotheses in each tool's own writing: score, and lm where it has a place.
MOSES = """\
0 ||| the  cat sat ||| score= -1.5 lm= -9 ||| -1.5 ||| 0-0
0 ||| a cat sat ||| score= -2.25 lm= -8.125 ||| -2.25 ||| 0-0 1-1
1 ||| dogs ||| score= -0.1 lm= -3 ||| -0.1 |||
1 |||  ||| score= -7 lm= 0 ||| -7 |||
"""
JSONL = (
    '{"id": "0", "hypotheses": [{"text": "the cat sat", "features": {"score": -1.5, "lm": -9}, "n": 1},'
    ' {"text": "a cat sat", "features": {"score": -2.25, "lm": -8.125}}], "references": ["the cat"]}\n'
    '{"id": "1", "hypotheses": [{"text": "dogs", "features": {"score": -0.1, "lm": -3}},'
    ' {"text": "", "features": {"score": -7, "lm": 0}}], "references": ["dogs"]}\n'
)
MLM = {
    "0": {
        "ref": "the cat",
        "hyp_1": {"score": -1.5, "text": "the cat sat", "features": {"lm": -9.0}},
        "hyp_2": {"score": -2.25, "text": "a cat sat", "features": {"lm": -8.125}},
    },
    "1": {
        "ref": "dogs",
        "hyp_1": {"score": -0.1, "text": "dogs", "features": {"lm": -3.0}},
        "hyp_2": {"score": -7, "text": "", "features": {"lm": 0.0}},
    },
}
FAIRSEQ = """\
S-0\tdie katze
T-0\tthe cat
H-0\t-1.5\tthe cat sat
P-0\t-1.5 -3 0 0
H-0\t-2.25\ta cat sat
P-0\t-1 -2 -3 -4
T-1\tdogs
H-1\t-0.1\tdogs
P-1\t-0.1 0
H-1\t-7\t
P-1\t-7
"""
NEMO = "the cat sat\t-1.5\na cat sat\t-2.25\ndogs\t-0.1\n\t-7\n"
KALDI = {
    "num_jobs": "1\n",
    "archives.1/words_text": "0-1 the cat sat\n0-2 a cat sat\n1-1 dogs\n1-2 \n",
    "archives.1/ali": "0-1 1 2\n0-2 1\n1-1 3\n1-2 \n",
    "archives.1/acwt": "0-1 1.5\n0-2 2.25\n1-1 0.1\n1-2 7\n",
    "archives.1/lmwt.lm": "0-1 9\n0-2 8.125\n1-1 3\n1-2 -0\n",
}
ESPNET = {
    "output.1/1best_recog/text": "0 the cat sat\n1 dogs\n",
    "output.1/1best_recog/score": "0 tensor(-1.5)\n1 -0.1\n",
    "output.1/1best_recog/token": "0 the cat sat\n1 dogs\n",
    "output.1/2best_recog/text": "0 a cat sat\n1 \n",
    "output.1/2best_recog/score": "0 -2.25\n1 -7.0\n",
    "output.1/2best_recog/token": "0 a cat sat\n1 \n",
}
SRILM = {
    "nbest/0.score": "-1.5 -9 3 the cat sat\n-2.25 -8.125 3 a cat sat\n",
    "nbest/1.score": "-0.1 -3 1 dogs\n-7 0 0\n",
    "pen/0": "0\n-1\n",
    "pen/1": "0\n0\n",
}
SOURCES: dict[str, Any] = {
    "moses": MOSES,
    "kaldi": KALDI,
    "jsonl": JSONL,
    "mlm": json.dumps(MLM),
    "espnet": ESPNET,
    "srilm": SRILM,
    "fairseq": FAIRSEQ,
    "nemo": NEMO,
}
# What each format has a place for beside texts and one score; all else is lost, and said.
FEATURES = {name: name not in ("nemo", "fairseq") for name in SOURCES}
REFERENCES = ("jsonl", "mlm", "fairseq")


def made(folder: Path, name: str) -> Path:
    """The lists as the tool writes them."""
    path = folder / f"{name}-source"
    files = SOURCES[name] if isinstance(SOURCES[name], dict) else {"": SOURCES[name]}
    for inner, content in files.items():
        (path / inner).parent.mkdir(parents=True, exist_ok=True)
        (path / inner).write_text(content)
    return path


def read(path: Path, name: str) -> NbestLists:
    return read_nbest(path, name, beam_size=2 if name == "nemo" else None)


def convert(run: Any, path: Path, name: str, to: str, out: Path, *more: str) -> Any:
    beam = ["--beam-size", 2] if name == "nemo" else []
    return run("convert", path, "--from", name, *beam, "--to", to, "--out", out, *more)


def values(lists: NbestLists, name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    return lists.feature(name)[:, 0]


def test_the_command_line_knows_all_formats() -> None:
    assert tuple(FORMATS) == LIST_FORMATS
    assert set(SOURCES) == set(FORMATS)


@pytest.mark.parametrize("to", LIST_FORMATS)
@pytest.mark.parametrize("name", LIST_FORMATS)
def test_there_and_back(run: Any, tmp_path: Path, name: str, to: str) -> None:
    path = made(tmp_path, name)
    before = read(path, name)
    # Several scores and none that ranks: those with one place have to be told which.
    chosen = ["--features", "ac"] if name in ("kaldi", "srilm") and to in ("nemo", "fairseq", "mlm") else []
    there = convert(run, path, name, to, tmp_path / "there", *chosen)
    if name in ("kaldi", "srilm") and to == "espnet":
        assert there.exit_code == 2
        assert "ESPnet's output has one score a hypothesis, and the lists do not say which" in there.stderr
        return
    assert there.exit_code == 0, there.output
    middle = read(tmp_path / "there", to)
    assert (middle.ids, middle.texts) == (before.ids, before.texts)
    assert middle.offsets.tolist() == before.offsets.tolist()

    if name != to:
        kept = {one.name for one in before.schema} - ({"lm", "word_count", "pen"} if chosen else set())
        if not FEATURES[to]:
            score = "ac" if chosen else "score"
            lost = kept - {score}
            assert ("left out" in there.stderr and all(one in there.stderr for one in lost)) or not lost
            assert np.allclose(values(middle, "score"), values(before, score), rtol=1e-14, atol=0)
        else:
            renamed = {"ac": "score"} if chosen else {}
            for one in kept:
                after = values(middle, renamed.get(one, one))
                assert np.allclose(after, values(before, one), rtol=1e-14, atol=0), one
        if before.references:
            assert middle.references == (before.references if to in REFERENCES else ())
            assert (to in REFERENCES) == ("references" not in there.stderr)

    back = convert(run, tmp_path / "there", to, name, tmp_path / "back")
    assert back.exit_code == 0, back.output
    after = read(tmp_path / "back", name)
    assert (after.ids, after.texts) == (before.ids, before.texts)
    if name == to:
        assert after.schema == before.schema
        assert np.array_equal(after.features, before.features)
        assert after.references == before.references


@pytest.mark.parametrize("name", ["moses", "fairseq", "nemo"])
def test_the_same_format_gives_the_same_bytes(run: Any, tmp_path: Path, name: str) -> None:
    path = made(tmp_path, name)
    assert convert(run, path, name, name, tmp_path / "out").exit_code == 0
    assert (tmp_path / "out").read_text() == SOURCES[name]


@pytest.mark.parametrize("name", ["kaldi", "espnet"])
def test_the_same_directory_gives_the_same_bytes(run: Any, tmp_path: Path, name: str) -> None:
    path = made(tmp_path, name)
    assert convert(run, path, name, name, tmp_path / "out").exit_code == 0
    found = {
        str(one.relative_to(tmp_path / "out")): one.read_text()
        for one in (tmp_path / "out").rglob("*")
        if one.is_file()
    }
    assert found == SOURCES[name]


def test_names_in_place_of_numbers(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "speech.json"
    path.write_text(json.dumps({"utt-b": MLM["0"], "utt-a": MLM["1"]}))
    refused = run("convert", path, "--to", "moses", "--out", tmp_path / "out")
    assert refused.exit_code == 2
    assert "a Moses list needs integer ids; expected digits (nbest convert --renumber" in refused.stderr
    done = run("convert", path, "--to", "moses", "--renumber", "--out", tmp_path / "out")
    assert done.exit_code == 0
    assert "warning: the ids of 2 lists are replaced by numbers from 0" in done.stderr
    assert "warning: the references of 2 lists are left out" in done.stderr
    assert read_nbest(tmp_path / "out").ids == ("0", "1")


def test_compressed_and_through_standard_streams(run: Any, tmp_path: Path) -> None:
    for ending in (".gz", ".bz2", ".xz", ".zst"):
        source, out = tmp_path / f"x{ending}", tmp_path / f"out{ending}"
        with write_whole(source) as stream:
            stream.write(MOSES.encode())
        assert run("convert", source, "--to", "moses", "--out", out).exit_code == 0
        assert read_nbest(out).texts == read_nbest(source).texts
        assert out.read_bytes() == source.read_bytes()
    result = run("convert", "-", "--to", "moses", "--out", "-", given=MOSES)
    assert result.stdout == MOSES
    result = run("convert", "-", "--to", "nemo", "--out", "-", given=json.dumps(MLM))
    assert result.stdout == NEMO


def test_block_by_block_is_the_whole(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rescoring import formats

    for name in LIST_FORMATS:
        path = made(tmp_path, name)
        for size in (1, 1000):
            monkeypatch.setattr(formats, "BLOCK_HYPOTHESES", size)
            monkeypatch.setitem(formats.open_blocks.__wrapped__.__kwdefaults__, "size", size)  # type: ignore[attr-defined]
            assert convert(run, path, name, "jsonl", tmp_path / f"{name}-{size}").exit_code == 0
        assert (tmp_path / f"{name}-1").read_text() == (tmp_path / f"{name}-1000").read_text()


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("name", LIST_FORMATS)
def test_every_command_reads_every_format(run: Any, tmp_path: Path, name: str, told: bool) -> None:
    path = made(tmp_path, name)
    references = tmp_path / "ref"
    by_name = name in ("kaldi", "srilm", "espnet", "mlm")
    references.write_text("0 a cat sat\n1 dogs\n" if by_name else "a cat sat\ndogs\n")
    beam = ["--beam-size", 2] if name == "nemo" else []
    format_of = ["--format", name] if told else []
    common = [path, *beam, *format_of, "--ref", references, "--metric", "wer"]
    if told or name != "nemo":  # a text may have a TAB in it too
        evaluated = run("evaluate", *common, "--json")
        assert evaluated.exit_code == 0, evaluated.output
        assert json.loads(evaluated.stdout)["score"] == 25
    assert json.loads(run("oracle", *common, "--json").stdout)["oracle"] == 0
    tuned = run("tune", *common, "--lm", "small", "--restarts", 1, "--out", tmp_path / "w.json")
    assert tuned.exit_code == 0, tuned.output
    out = tmp_path / "best"
    ranked = run(
        "rescore", path, *beam, *format_of, "--lm", "small", "--weights", tmp_path / "w.json", "--one-best",
        "--out", out,
    )  # fmt: skip
    assert ranked.exit_code == 0, ranked.output
    assert run("evaluate", out, "--ref", references, "--metric", "wer").exit_code == 0
    again = run(
        "rescore", path, *beam, *format_of, "--lm", "small", "--weights", tmp_path / "w.json",
        "--out", tmp_path / "again",
    )  # fmt: skip
    assert again.exit_code == 0, again.output
    assert read(tmp_path / "again", name).ids == ("0", "1")


def test_the_files_of_moses_tuners(run: Any, tmp_path: Path) -> None:
    (tmp_path / "ref").write_text("a cat sat\ndogs\n")
    command = ["convert", made(tmp_path, "moses"), "--to", "extractor", "--out", tmp_path / "out"]
    result = run(*command, "--ref", tmp_path / "ref")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out/features.dat").read_text().split("\n")[:2] == [
        "FEATURES_TXT_BEGIN_0 0 2 2 score_0 lm_0",
        "-1.5 -9 ",
    ]
    assert (tmp_path / "out/scores.dat").read_text().split("\n")[:3] == [
        "SCORES_TXT_BEGIN_0 0 2 9 BLEU",
        "2 3 1 2 0 1 0 0 3 ",
        "3 3 2 2 1 1 0 0 3 ",
    ]
    assert run(*command, "--ref", tmp_path / "ref").exit_code == 0  # its own files may be replaced
    assert "no references" in run(*command).stderr


def test_the_commands_of_the_document(
    run: Any, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = (repository / "docs/formats.md").read_text(encoding="utf-8")
    commands = [line.split(" ")[5:] for line in document.split("\n") if line.startswith("    nbest convert ")]
    assert len(commands) == 4
    (tmp_path / "examples").symlink_to(repository / "examples")
    monkeypatch.chdir(tmp_path)
    for command in commands:
        assert run(*command).exit_code == 0, command
    assert read_nbest("lists.jsonl").texts == read_nbest("examples/kaldi_nbest").texts
    assert read_nbest("mt-kaldi").texts == read_nbest("examples/mt.dev.nbest").texts
    assert read_nbest("ac.json").column_names == ("score", "ac")  # the place, and what it was called
    assert sorted(path.name for path in Path("moses-tuner").iterdir()) == ["features.dat", "scores.dat"]


def test_the_document_names_every_format_and_step(repository: Path) -> None:
    document = (repository / "docs/formats.md").read_text(encoding="utf-8")
    assert [name for name in LIST_FORMATS if f"| `{name}` |" not in document] == []
    assert [name for name in STEPS if f"`{name.removesuffix('.1')}`" not in document] == []


@pytest.mark.parametrize("name", LIST_FORMATS)
def test_score_scores_the_hypotheses_of_lists(run: Any, tmp_path: Path, name: str) -> None:
    path = made(tmp_path, name)
    beam = ["--beam-size", 2] if name == "nemo" else []
    result = run("score", path, "--format", name, *beam, "--lm", "small", "--print-text")
    assert result.exit_code == 0, result.output
    texts = [line.split("\t")[3] for line in result.stdout.split("\n")[:-1]]
    assert texts == ["the cat sat", "a cat sat", "dogs", ""]
    numbers = [line.split("\t")[0] for line in result.stdout.split("\n")[:-1]]
    (tmp_path / "small").write_text("".join(f"{number}\n" for number in numbers))
    out = tmp_path / "out"
    command = ["rescore", path, "--format", name, *beam, "--add-feature", f"x={tmp_path / 'small'}"]
    done = run(*command, "--weight", "x=1", "--unknown-feature", "ignore", "--one-best", "--out", out)
    assert done.exit_code == 0, done.output
    assert run("score", path, "--beam-size", 2, "--lm", "small").exit_code == 2
