import os
from pathlib import Path

import pytest

from nbest.errors import BusyError, ConfigError
from rescoring.batch.journal import open_journal, partial_of, remove

SETTINGS = {"lists": ["in", 5, 17], "text": None, "one best": [False]}
RECORDS = [{"block": k, "bytes": 10 * k} for k in range(4)]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """An output whose journal has the four records."""
    with open_journal(tmp_path / "out", SETTINGS, restart=False) as journal:
        for record in RECORDS:
            journal.add(record)
    return tmp_path / "out"


def found(out: Path, settings: object = SETTINGS, *, restart: bool = False) -> list[object]:
    assert isinstance(settings, dict)
    with open_journal(out, settings, restart=restart) as journal:
        return list(journal.records)


def test_records_are_found_again(out: Path) -> None:
    assert partial_of(out) == out.parent / "out.nbest-partial"
    assert found(out) == RECORDS
    with open_journal(out, SETTINGS, restart=False) as journal:
        journal.keep(2)
        journal.add({"block": 2})
    assert found(out) == [*RECORDS[:2], {"block": 2}]
    remove(partial_of(out))
    assert found(out) == []


def test_a_journal_cut_anywhere_has_its_whole_records(out: Path) -> None:
    journal = partial_of(out) / "journal"
    content = journal.read_bytes()
    ends = [k + 1 for k, byte in enumerate(content) if byte == ord("\n")]
    for length in range(len(content) + 1):
        journal.write_bytes(content[:length])
        whole = sum(end <= length for end in ends)
        assert found(out) == RECORDS[: max(0, whole - 1)]  # the first line is the settings
        assert found(out) == RECORDS[: max(0, whole - 1)]  # what was torn is cut off


@pytest.mark.parametrize("at", [0, 3, 30, 120, -2])
def test_a_corrupt_journal_counts_up_to_the_fault(out: Path, at: int) -> None:
    journal = partial_of(out) / "journal"
    content = bytearray(journal.read_bytes())
    content[at] ^= 1
    journal.write_bytes(content)
    at %= len(content)
    line = content[:at].count(b"\n")
    assert found(out) == RECORDS[: max(0, line - 1)]


def test_other_settings_are_refused_and_named(out: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        found(out, {**SETTINGS, "lists": ["in", 6, 17], "text": "lower"})
    assert str(caught.value) == (
        f"{out}.nbest-partial: an unfinished run had other settings: lists, text; expected the same lists, "
        "'[\"in\", 5, 17]'; or --restart, to start over; got '[\"in\", 6, 17]'"
    )
    assert found(out) == RECORDS
    assert found(out, {**SETTINGS, "text": "lower"}, restart=True) == []


def test_two_runs_at_once(out: Path) -> None:
    with open_journal(out, SETTINGS, restart=False) as journal:
        for restart in (False, True):
            with pytest.raises(BusyError, match=r"out\.nbest-partial: another run is writing this output"):
                found(out, restart=restart)
        assert journal.records == RECORDS
    assert found(out) == RECORDS


def test_an_output_by_a_link_is_the_output(out: Path) -> None:
    link = out.parent / "link"
    link.symlink_to(out)
    assert partial_of(link) == partial_of(out)


def test_what_is_not_ours_is_not_touched(out: Path) -> None:
    mine = partial_of(out) / "mine"
    mine.write_text("x")
    found(out, {}, restart=True)
    assert mine.exists()
    assert sorted(os.listdir(partial_of(out))) == ["journal", "lock", "mine"]
