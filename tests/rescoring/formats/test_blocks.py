import io
import logging
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from nbest.errors import FeatureError, FormatError, LimitError
from rescoring.formats import blocks as blocks_module
from rescoring.formats import columns, open_blocks, open_writer, read_nbest, write_nbest
from rescoring.formats.moses import MosesRecord


def write(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def some_lists(count: int, each: int = 5) -> list[str]:
    return [
        f"{k // each} ||| w{k} x{k % each}  ||| LM0= -{k}.25 TM0= -1 -{k % 7} ||| -{k} ||| 0-0"
        for k in range(count * each)
    ]


def test_blocks_hold_whole_lists_and_join_to_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "x", *some_lists(20))
    whole = read_nbest(path)
    with open_blocks(path, size=12) as blocks:
        parts = list(blocks)
        assert [len(part) for part in parts] == [3, 3, 3, 3, 3, 3, 2]
        assert blocks.schema == whole.schema
        assert (blocks.ids, blocks.source) == (whole.ids, str(path))
        assert [part.ids for part in blocks] == [part.ids for part in parts]  # again from the start
    assert np.array_equal(np.concatenate([part.features for part in parts]), whole.features)
    assert sum((part.texts for part in parts), ()) == whole.texts
    assert sum((part.lines for part in parts), ()) == whole.lines


def test_written_block_by_block_it_is_the_same_file(tmp_path: Path) -> None:
    path = write(tmp_path / "x", *some_lists(20))
    totals = {name: -float(k) for k, name in enumerate(read_nbest(path).texts)}
    write_nbest(read_nbest(path), tmp_path / "whole", totals=np.array(list(totals.values())))
    with open_blocks(path, size=12) as blocks, open_writer(tmp_path / "parts", "moses") as out:
        for part in blocks:
            out(part, np.arange(len(part.texts)), np.array([totals[text] for text in part.texts]))
    assert (tmp_path / "parts").read_bytes() == (tmp_path / "whole").read_bytes()


def test_sparse_features_are_columns_of_every_block(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(
        tmp_path / "x",
        "0 ||| a ||| LM0= -1 ||| 1",
        "1 ||| b ||| LM0= -2 WT_a~b= 1 ||| 1",
        "1 ||| b b ||| LM0= -2 ||| 1",
        "2 ||| c ||| LM0= -3 PL_1,1= 2 ||| 1",
    )
    with caplog.at_level(logging.WARNING), open_blocks(path, size=1) as blocks:
        parts = list(blocks)
    assert [part.column_names for part in parts] == [("LM0", "WT_a~b", "PL_1,1")] * 3
    assert np.concatenate([part.features for part in parts]).tolist() == [
        [-1, 0, 0],
        [-2, 1, 0],
        [-2, 0, 0],
        [-3, 0, 2],
    ]
    said = [message for message in caplog.messages if "absent" in message]
    assert said == [f"{path}: 2 features are absent on some lines and counted as 0 there (WT_a~b, PL_1,1)"]
    record = parts[0].records[0]
    assert isinstance(record, MosesRecord)
    assert record.own_features == {"LM0", "WT_a~b", "PL_1,1"}  # of the file: none is written as new
    with open_writer(tmp_path / "out", "moses") as out:
        for part in parts:
            out(part, np.arange(len(part.texts)), None)
    assert (tmp_path / "out").read_text() == path.read_text()


def test_a_vector_that_a_block_lacks(tmp_path: Path) -> None:
    lines = ["0 ||| a ||| TM0= 1 2 ||| 1", "1 ||| b ||| TM0= 1 2 ||| 1"]
    for line, message in (
        ("2 ||| c ||| LM0= 1 ||| 1", r"x:3: feature TM0 is missing; expected 2 values as on other lines"),
        ("2 ||| c ||| TM0= 1 ||| 1", r"x:3: feature TM0 has another number of values .* expected 2; got 1"),
    ):
        write(tmp_path / "x", *lines, line)
        with pytest.raises(FeatureError, match=message), open_blocks(tmp_path / "x", size=1):
            pass
    write(tmp_path / "x", "0 ||| a ||| LM0= 1 ||| 1", *[line.replace("0", "7", 1) for line in lines[:1]])
    with pytest.raises(FeatureError, match="feature TM0 is missing"), open_blocks(tmp_path / "x", size=1):
        pass


def test_too_many_sparse_features_over_all_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks_module, "MAX_SPARSE", 5)
    assert columns.MAX_SPARSE > 5
    write(tmp_path / "x", *(f"{k} ||| a ||| LM0= 1 S{k}= 1 ||| 1" for k in range(10)))
    with pytest.raises(LimitError, match="x:6: too many distinct sparse features; expected at most 5"):
        with open_blocks(tmp_path / "x", size=1):
            pass


def test_ids_that_come_back_need_the_whole_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lines = some_lists(4)
    path = write(tmp_path / "x", *lines, *[line.replace("w", "v") for line in lines])
    with caplog.at_level(logging.WARNING), open_blocks(path, size=5) as blocks:
        (block,) = blocks
    assert len(block.texts) == 40
    assert block.texts == read_nbest(path).texts
    assert caplog.messages[0] == (
        f"{path}:21: id 0 comes back after its list was over: the whole file is held in memory"
    )
    assert "ids come back later in the file; their lists were joined" in caplog.messages[1]


def test_a_fault_anywhere_is_found_before_the_first_block(tmp_path: Path) -> None:
    path = write(tmp_path / "x", *some_lists(20), "20 ||| x ||| LM0= nan TM0= 1 2 ||| 1")
    with pytest.raises(FeatureError, match="x:101: feature LM0 is not finite"), open_blocks(path, size=5):
        pass


def test_standard_input_in_blocks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Stdin:
        buffer = io.BytesIO("".join(f"{line}\n" for line in some_lists(20)).encode())

    monkeypatch.setattr(sys, "stdin", Stdin())
    with open_blocks("-", size=12) as blocks:
        parts = list(blocks)
        assert blocks.source == "<stdin>"
    assert [len(part) for part in parts] == [3, 3, 3, 3, 3, 3, 2]
    assert parts[1].where(0) == "<stdin>:16"
    with pytest.raises(FormatError, match="<stdin>: no n-best list in it"), open_blocks("-"):
        pass


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_memory_is_that_of_a_block_not_of_the_file(tmp_path: Path, suffix: str) -> None:
    """Ten times the file: the same peak, up to what ids take."""
    peaks = []
    for count in (50, 500):
        lists = read_nbest(write(tmp_path / "plain", *some_lists(count, each=20)))
        path = tmp_path / f"x{count}{suffix}"
        write_nbest(lists, path)
        del lists
        tracemalloc.start()
        with open_blocks(path, size=500) as blocks, open_writer(tmp_path / "out", "moses") as out:
            for block in blocks:
                out(block, np.arange(len(block.texts)), block.features[:, 0])
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.25 * peaks[0] + 500 * 200  # and what ids take


def test_which_features_are_sparse_is_known_in_every_block(tmp_path: Path) -> None:
    lines = [f"{n} ||| a ||| LM0= -1 {'WT_x= 1' if n != 3 else ''} ||| 0" for n in range(6)]
    (tmp_path / "x").write_text("\n".join(lines))
    with open_blocks(tmp_path / "x", size=1) as blocks:
        assert [[one.sparse for one in block.schema] for block in blocks] == [[False, True]] * 6
    assert [one.sparse for one in read_nbest(tmp_path / "x").schema] == [False, True]
