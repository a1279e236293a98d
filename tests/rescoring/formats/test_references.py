import os
import threading
from pathlib import Path

import pytest

from nbest.errors import ConfigError, FormatError, ReferenceMismatchError
from rescoring.formats import parse_nbest, read_nbest
from rescoring.formats.references import read_references
from rescoring.nbest import NbestLists


def moses(*ids: int) -> NbestLists:
    return parse_nbest([(k + 1, f"{one} ||| t{one} ||| d= 1 ||| 2") for k, one in enumerate(ids)], "lists")


def jsonl(*ids: str, references: str = "") -> NbestLists:
    return parse_nbest(
        [
            (k + 1, f'{{"id": "{one}", "hypotheses": [{{"text": "t"}}]{references}}}')
            for k, one in enumerate(ids)
        ],
        "lists",
    )


def file(tmp_path: Path, content: str, name: str = "ref") -> Path:
    path = tmp_path / name
    path.write_text(content)
    return path


def test_lines_by_id(tmp_path: Path) -> None:
    path = file(tmp_path, "zero\none  1 \n\nthree\n")
    assert read_references(path, moses(0, 1, 2, 3)) == (("zero",), ("one 1",), ("",), ("three",))
    assert read_references([str(path)], moses(3, 1)) == (("three",), ("one 1",))


def test_several_files(tmp_path: Path) -> None:
    paths = [file(tmp_path, "a\nb\n", "r0"), file(tmp_path, "c\nd\n", "r1")]
    assert read_references(paths, moses(0, 1)) == (("a", "c"), ("b", "d"))
    paths.append(file(tmp_path, "e\n", "r2"))
    with pytest.raises(ReferenceMismatchError) as caught:
        read_references(paths, moses(0, 1))
    assert str(caught.value) == (
        f"{paths[2]}: references and lists do not belong together; expected 2 lines, as the highest id"
        f" of lists"
        " is 1; got 1 lines"
    )


def test_too_many_lines(tmp_path: Path) -> None:
    path = file(tmp_path, "a\nb\nc\n")
    with pytest.raises(ReferenceMismatchError) as caught:
        read_references(path, moses(1, 0))
    assert str(caught.value) == (
        f"{path}: references and lists do not belong together; expected 2 lines, as the highest id of"
        f" lists is 1;"
        " got 3 lines"
    )
    assert read_references(path, moses(1, 0), allow_extra=True) == (("b",), ("a",))


def test_utterances(tmp_path: Path, directory: Path) -> None:
    lists = read_nbest(directory)
    path = file(tmp_path, "z only\na-c\na-b\tthe  first word \n")
    assert read_references(path, lists) == (("the first word",), ("",), ("only",))
    path = file(tmp_path, "z only\ny x\nx y\n")
    with pytest.raises(ReferenceMismatchError) as caught:
        read_references(path, lists)
    assert str(caught.value) == (
        f"{path}: utterances without a reference: 2 (a-b, a-c); references without a list: 2 (x, y);"
        f" expected the"
        f" 3 utterances of {directory}; got 3 utterances"
    )
    path = file(tmp_path, "a-b b\nextra x\na-c c\nz z\n")
    with pytest.raises(
        ReferenceMismatchError, match=r"reference: none; references without a list: 1 \(extra\)"
    ):
        read_references(path, lists)
    assert read_references(path, lists, allow_extra=True) == (("b",), ("c",), ("z",))
    path = file(tmp_path, "a-b b\na-b c\n")
    with pytest.raises(FormatError) as twice:
        read_references(path, lists)
    assert str(twice.value) == (
        f"{path}:2: utterance 'a-b' stands there twice; "
        f"expected 'utterance words', each utterance of {directory} once"
    )


def test_lists_are_no_references(tmp_path: Path) -> None:
    path = file(tmp_path, "0 ||| a b ||| LM0= -1 ||| -1\n1 ||| b ||| LM0= -2 ||| -2\n")
    lists = read_nbest(file(tmp_path, "0 ||| a ||| LM0= -1 ||| -1\n1 ||| b ||| LM0= -2 ||| -2\n", "lists"))
    with pytest.raises(ReferenceMismatchError, match="n-best lists where references should be"):
        read_references(path, lists)  # taken for Kaldi's text
    with pytest.raises(ReferenceMismatchError) as caught:
        read_references(path, lists, "lines")
    assert str(caught.value) == (
        f"{path}: n-best lists where references should be; expected one right text for each list; "
        "got '0 ||| a b ||| LM0= -1 ||| -1'"
    )


def test_lists_with_names_take_either(tmp_path: Path) -> None:
    lists = jsonl("x", "y")
    assert read_references(file(tmp_path, "y why\nx ex\n"), lists) == (("ex",), ("why",))
    assert read_references(file(tmp_path, "x why\nnot ex\n"), lists) == (("x why",), ("not ex",))
    assert read_references(file(tmp_path, "y why\nx ex\n"), lists, "lines") == (("y why",), ("x ex",))
    path = file(tmp_path, "one\n")
    with pytest.raises(ReferenceMismatchError) as caught:
        read_references(path, lists)
    assert str(caught.value) == (
        f"{path}: references and lists do not belong together; expected 2 lines, one for each list of lists;"
        " got 1 lines"
    )


def test_those_the_lists_carry() -> None:
    lists = jsonl("x", "y", references=', "references": ["r", "s"]')
    assert read_references([], lists) == (("r", "s"), ("r", "s"))
    with pytest.raises(ReferenceMismatchError) as caught:
        read_references([], jsonl("x"))
    assert str(caught.value) == (
        "lists: no references; expected a file of references, or lists that carry them"
    )


def test_styles(tmp_path: Path, directory: Path) -> None:
    path = file(tmp_path, "a\nb\nc\n")
    with pytest.raises(ConfigError, match="unknown style of references; expected lines or kaldi; got 'xml'"):
        read_references(path, moses(0), "xml")
    with pytest.raises(ReferenceMismatchError) as caught:
        read_references(path, read_nbest(directory), "lines")
    assert str(caught.value) == f"{path}: references by line need lists with integer ids; got 'a-b'"


def test_real_references(shared: Path) -> None:
    data = shared / "data"
    lists = read_nbest(data / "mt" / "variants" / "plain.nbest")
    with pytest.raises(ReferenceMismatchError, match=r"expected 8 lines, .* is 7; got 1014 lines"):
        read_references(data / "mt" / "dev.ref.en", lists)
    spoken = read_nbest(data / "asr" / "test" / "kaldi_nbest", columns=["ac"])
    references = read_references(data / "asr" / "test" / "text", spoken)
    assert len(references) == 238
    with pytest.raises(ReferenceMismatchError, match=r"without a reference: 238 .* without a list: 392"):
        read_references(data / "asr" / "dev" / "text", spoken)


def test_kaldis_text_is_not_taken_for_plain_text(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = file(tmp_path, "1 one b\n0\tzero a\n")
    assert read_references(path, moses(0, 1)) == (("zero a",), ("one b",))
    assert caplog.messages == [f"{path}: taken for Kaldi's text: its lines begin with the ids of the lists"]
    path = file(tmp_path, "utt-001 zero\nutt-002 one\n")
    with pytest.raises(ReferenceMismatchError) as caught:
        read_references(path, moses(0, 1))
    assert str(caught.value) == (
        f"{path}: Kaldi's text: every line begins with the id of an utterance, and the lists have numbers; "
        "expected plain text, line n for list n of lists, or lists of these utterances; "
        "got 'utt-001', 'utt-002'"
    )
    assert read_references(path, moses(0, 1), "lines") == (("utt-001 zero",), ("utt-002 one",))


@pytest.mark.parametrize("text", ["2nd zero\nthe one\n", "1st zero\n1st one\n", "1 zero\n2 one\n", "a\nb\n"])
def test_plain_text_is_plain_text(tmp_path: Path, text: str) -> None:
    found = read_references(file(tmp_path, text), moses(0, 1))
    assert [one for (one,) in found] == text.split("\n")[:-1]


def test_references_may_come_through_a_pipe(tmp_path: Path) -> None:
    for lists, text in ((moses(0, 1), "zero\none\n"), (jsonl("a", "b"), "b one\na zero\n")):
        pipe = tmp_path / f"pipe-{len(text)}"
        os.mkfifo(pipe)
        writer = threading.Thread(target=pipe.write_text, args=(text,))
        writer.start()
        assert read_references(pipe, lists) == (("zero",), ("one",))
        writer.join()
