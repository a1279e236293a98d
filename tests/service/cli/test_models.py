"""nbest info, nbest models, nbest score."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from models import catalog
from nbest import __version__


def test_score_prints_a_line_a_sentence_and_the_sums(run: Any) -> None:
    result = run("score", "--lm", "small", given="a man\n\na zebra\n")
    assert result.exit_code == 0
    assert result.stdout == "-3.500000\t3\t0\n-0.500000\t1\t0\n-9.500000\t3\t1\n"
    perplexity = math.exp(13.5 / 7)
    assert result.stderr == (
        f"sentences 3  tokens 7  oov 1  nat_log_prob -13.5000  perplexity {perplexity:.4f} "
        "(unknown words charged)\n"
        f"signature nbest:{__version__}|small:sha256:{'0' * 64}|precision:fp32|text:raw\n"
    )


def test_score_tokens(run: Any) -> None:
    result = run("score", "--lm", "small", "--tokens", given="a zebra\nman\n")
    assert result.stdout == (
        "1\ta\t-1.000000\t0\n1\tzebra\t-8.000000\t1\n1\t</s>\t-0.500000\t0\n"
        "2\tman\t-2.000000\t0\n2\t</s>\t-0.500000\t0\n"
    )
    assert "tokens 5  oov 1" in result.stderr
    odd = run("score", "--lm", "small", "--tokens", given="a zeb\tra\n")
    assert odd.stdout.split("\n")[1] == "1\tzeb\\tra\t-8.000000\t1"


def test_score_splits_lines_at_newlines_only(run: Any) -> None:
    result = run("score", "--lm", "small", "--print-text", given="a\x0bman\x85a\u2028man\r\n")
    (line,) = result.stdout.split("\n")[:-1]
    assert line.split("\t")[1:] == ["2", "1", "a\x0bman\x85a\u2028man"]


def test_score_of_lists_without_their_format_is_warned_of(run: Any, lists: Path) -> None:
    warning = "nbest: warning: the sentences look like n-best lists: --format moses scores their hypotheses\n"
    plain = run("score", "--lm", "small", lists)
    assert (plain.exit_code, plain.stderr.count(warning)) == (0, 1)
    assert warning not in run("score", "--lm", "small", "--format", "moses", lists).stderr
    assert warning not in run("score", "--lm", "small", given="a ||| man\n").stderr


def test_score_lower(run: Any) -> None:
    assert run("score", "--lm", "small", "--text", "lower", given="A MAN\n").stdout == "-3.500000\t3\t0\n"


def test_score_of_nothing(run: Any) -> None:
    result = run("score", "--lm", "small", given="")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "sentences 0  tokens 0" in result.stderr


def test_score_in_blocks_is_the_same(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import service.cli.score as module

    text = "".join(f"{'a ' * n}man\n" for n in range(20))
    whole = run("score", "--lm", "small", given=text)
    monkeypatch.setattr(module, "_BLOCK", 3)
    assert run("score", "--lm", "small", given=text).output == whole.output


def test_score_with_a_real_model_adds_up(run: Any, tiny: Path) -> None:
    scores = run("score", "--lm", tiny, given="a man is riding\nzebra\n")
    tokens = run("score", "--lm", tiny, "--tokens", given="a man is riding\nzebra\n")
    lines = [line.split("\t") for line in scores.stdout.split("\n")[:-1]]
    sums = [0.0, 0.0]
    for line in tokens.stdout.split("\n")[:-1]:
        number, _, nat_log_prob, _ = line.split("\t")
        sums[int(number) - 1] += float(nat_log_prob)
    assert [float(line[0]) for line in lines] == pytest.approx(sums, abs=1e-5)
    assert [line[1:] for line in lines] == [["5", "0"], ["2", "1"]]


@pytest.mark.parametrize(
    ("arguments", "given", "words"),
    [
        (["--lm", "nothing"], b"", "nothing"),
        (["--lm", "broken"], b"", "broken/model.safetensors: corrupt or truncated"),
        (["--lm", "small"], b"a\n\xff\n", "<stdin>:2: invalid UTF-8"),
        (["--lm", "small", "no-such-file"], b"", "no-such-file: no such file"),
        (["--lm", "small", "--out", "no/such/dir/out"], b"a\n", "no/such/dir: no such directory"),
    ],
)
def test_score_bad_input(run: Any, arguments: list[str], given: bytes, words: str) -> None:
    result = run("score", *arguments, given=given)
    assert result.exit_code == 2
    assert result.stderr.startswith("nbest: error: ")
    assert words in result.stderr


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "vocabulary.json", "card.json"])
@pytest.mark.parametrize("command", ["info", "score"])
def test_a_truncated_model_is_named_by_its_file(run: Any, tiny: Path, name: str, command: str) -> None:
    path = tiny / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    arguments = [tiny] if command == "info" else ["--lm", tiny]
    result = run(command, *arguments, given="a\n")
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith(f"nbest: error: {path}")
    assert result.stderr.count("\n") == 1


def test_info_is_a_table_that_adds_up(run: Any, tiny: Path) -> None:
    text = run("info", tiny).stdout
    document = json.loads(run("info", tiny, "--json").stdout)
    assert sum(part["parameters"] for part in document["parts"]) == document["parameters"]
    assert sum(part["paper_bytes"] for part in document["parts"]) == document["paper_bytes"]
    assert document["weights_bytes"] == (tiny / "model.safetensors").stat().st_size
    assert document["vocabulary_bytes"] == (tiny / "vocabulary.json").stat().st_size
    assert document["card"]["licence"] == "CC0-1.0"
    for part in document["parts"]:
        (line,) = [line for line in text.split("\n") if line.split()[:1] == [part["name"]]]
        assert f"{part['paper_bytes']:,.0f}" in line.split()
        assert f"{part['resident_bytes']:,}" in line.split()
    assert f"{document['parameters']:,}" in text
    assert document["digest"] in text
    assert "perplexity, valid" in text
    assert "21.50" in text


def test_models_lists_what_ships(run: Any, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "shipped", lambda: {"large": tiny, "small": tiny})
    size = (tiny / "model.safetensors").stat().st_size
    words = json.loads(run("info", tiny, "--json").stdout)["config"]["vocabulary_size"]
    facts = f"bllm  {words} words  {size:,} bytes\n    perplexity 21.50  valid\n    words/s  1,234\n"
    card = json.loads((tiny / "card.json").read_text())
    (tiny / "card.json").write_text(json.dumps(card | {"measured": {"words/s": 1234.4}}))
    assert run("models").stdout == f"large  {facts}small  {facts}"
    large, small = json.loads(run("models", "--json").stdout)
    assert {**large, "name": "small"} == small
    assert {
        key: small[key] for key in ("name", "system", "words", "weights_bytes", "perplexity", "measured")
    } == {
        "name": "small",
        "system": "bllm",
        "words": words,
        "weights_bytes": size,
        "perplexity": {"valid": 21.5},
        "measured": {"words/s": 1234.4},
    }
    assert small["digest"].startswith("sha256:")
    monkeypatch.setattr(catalog, "shipped", dict)
    assert run("models", "--json").stdout == "[]\n"
    nothing = run("models")
    assert (nothing.stdout, "no models ship" in nothing.stderr) == ("", True)
