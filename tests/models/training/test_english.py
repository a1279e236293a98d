"""Raw English into the two forms; a table of exact outputs."""

from pathlib import Path

import pytest

from models.training.english import number_words, sentences, spoken, written
from models.training.prepare import prepare


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [
        ("It is late. We go home!", ["It is late.", "We go home!"]),
        ("Mr. Smith met J. Jones. “Why?” He left.", ["Mr. Smith met J. Jones.", '"Why?"', "He left."]),
        ("About 3.5 percent, e.g. some. then more", ["About 3.5 percent, e.g. some. then more"]),
        ("", []),
    ],
)
def test_sentences(raw: str, wanted: list[str]) -> None:
    assert list(sentences(raw)) == wanted


@pytest.mark.parametrize(
    ("sentence", "as_written", "as_spoken"),
    [
        (
            "Mr. Smith's dog didn't bark; it's 1945.",
            "mr . smith 's dog did n't bark ; it 's 1945 .",
            "mr smith's dog didn't bark it's nineteen forty five",
        ),
        (
            "The FBI paid $1,200 — at 10:30.",
            "the fbi paid $ 1,200 - at 10:30 .",
            "the fbi paid one thousand two hundred at ten thirty",
        ),
        (
            "A well-known U.S. actor & 50% more",
            "a well-known u . s . actor & 50 % more",
            "a well known u s actor and fifty percent more",
        ),
        ("the dogs' tails", "the dogs ' tails", "the dogs tails"),
        ("PTTL is odd", "pttl is odd", "p t t l is odd"),
        ("...", "...", ""),
        ("5\u2103 and 2nd", "5 \u2103 and 2nd", "five and second"),
    ],
)
def test_forms(sentence: str, as_written: str, as_spoken: str) -> None:
    assert written(sentence) == as_written
    assert spoken(sentence) == as_spoken


@pytest.mark.parametrize(
    ("token", "words"),
    [
        ("0", "zero"),
        ("17", "seventeen"),
        ("40", "forty"),
        ("105", "one hundred five"),
        ("1905", "nineteen oh five"),
        ("1900", "nineteen hundred"),
        ("2006", "two thousand six"),
        ("1,905", "one thousand nine hundred five"),
        ("3.14", "three point one four"),
        ("21st", "twenty first"),
        ("20th", "twentieth"),
        ("12th", "twelfth"),
        ("1960s", "nineteen sixties"),
        ("10:05", "ten five"),
        ("5000000", "five million"),
        ("1234567890", "one two three four five six seven eight nine zero"),
        ("1.2.3", "one point two three"),
    ],
)
def test_numbers(token: str, words: str) -> None:
    assert " ".join(number_words(token)) == words


def test_prepare_splits_by_block_and_leaves_out(tmp_path: Path) -> None:
    raw = tmp_path / "raw.txt"
    lines = [f"Sentence number {k} stands here." for k in range(40_000)]
    lines[5] = lines[4]
    lines[7] = "These six words here are forbidden today."
    lines[9] = " ".join(["long"] * 70)
    raw.write_text("\n".join(lines) + "\n")
    train, held_out = tmp_path / "train.txt.gz", tmp_path / "held.txt"
    counts = prepare([(raw, None)], train, held_out, exclude=["x these six words here are forbidden y"])
    assert counts.duplicates == 1
    assert counts.overlaps == 1
    assert counts.too_long == 1
    assert counts.held_out_sentences == 200  # two blocks of a hundred lines out of four hundred
    assert counts.train_sentences == 40_000 - 200 - 3
    numbers = sorted(lines.index(_raw_of(line)) for line in held_out.read_text().split("\n") if line)
    assert numbers == [*range(10_000, 10_100), *range(30_000, 30_100)]


def _raw_of(line: str) -> str:
    """The raw sentence a prepared line came from, by its number's words or digits."""
    for number in (*range(10_000, 10_100), *range(30_000, 30_100)):
        sentence = f"Sentence number {number} stands here."
        if line in (written(sentence), spoken(sentence)):
            return sentence
    raise AssertionError(line)
