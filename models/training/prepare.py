"""Raw English text files into a training and a held-out file: cleaned, deduplicated, mixed, split by block.

Half the sentences (chosen by their hash) are in `written` form, half in `spoken`, so that one model serves
translation and recognition lists. Held-out text is whole blocks of consecutive lines, never single lines:
neighbouring lines of a document, or near-copies in a sorted collection, stay on one side.
"""

import hashlib
import os
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from models.training.english import sentences, spoken, written
from nbest.errors import ConfigError
from nbest.files import read_lines, write_whole

BLOCK_LINES = 100
HELD_OUT_EVERY = 200  # every 200th block: half a percent
OVERLAP_WORDS = 6  # a sentence that shares so many consecutive words with an excluded text is left out
LONGEST_WORDS = 60


@dataclass(frozen=True)
class Prepared:
    """What `prepare` wrote and left out, in sentences (and words)."""

    train_sentences: int
    train_words: int
    held_out_sentences: int
    held_out_words: int
    duplicates: int
    overlaps: int
    too_long: int


def prepare(
    raw: Sequence[tuple[Path, int | None]],
    out: Path,
    held_out: Path,
    *,
    exclude: Iterable[str] = (),
    seed: int = 1,
) -> Prepared:
    """Write `out` and `held_out` from raw files, each with an upper limit of words to take, or None.

    Both are written, or none. Raises ConfigError where they are the same file.
    """
    if os.path.realpath(out) == os.path.realpath(held_out):
        raise ConfigError("training and held-out text cannot go to one file", got=str(out))
    forbidden = _ngrams(exclude)
    seen: set[bytes] = set()
    counts = {"duplicates": 0, "overlaps": 0, "too_long": 0}
    sides: tuple[list[str], list[str]] = ([], [])
    for path, limit in raw:
        words = 0
        for is_held_out, sentence in _blocks(path, random.Random(f"{seed}{path.name}")):
            if limit is not None and words >= limit:
                break
            digest = hashlib.blake2b(sentence.encode(), digest_size=8).digest()
            line = written(sentence) if digest[0] % 2 else spoken(sentence)
            tokens = line.split(" ")
            if not line or digest in seen:
                counts["duplicates"] += bool(line)
                continue
            seen.add(digest)
            if len(tokens) > LONGEST_WORDS:
                counts["too_long"] += 1
            elif forbidden and not forbidden.isdisjoint(_ngrams([spoken(sentence)])):
                counts["overlaps"] += 1
            else:
                sides[is_held_out].append(line)
                words += len(tokens)
    with write_whole(out) as train, write_whole(held_out) as other:
        for lines, stream in zip(sides, (train, other), strict=True):
            random.Random(seed).shuffle(lines)
            stream.write("".join(f"{line}\n" for line in lines).encode())
            stream.flush()  # a full device says so before either takes its place
    totals = [sum(line.count(" ") + 1 for line in lines) for lines in sides]
    return Prepared(len(sides[0]), totals[0], len(sides[1]), totals[1], **counts)


def _blocks(path: Path, order: random.Random) -> Iterator[tuple[bool, str]]:
    """(held out?, sentence) of a file's blocks of lines, blocks in random order."""
    lines = [line for _, line in read_lines(path)]
    starts = list(range(0, len(lines), BLOCK_LINES))
    numbers = list(range(len(starts)))
    order.shuffle(numbers)
    for number in numbers:
        for line in lines[starts[number] : starts[number] + BLOCK_LINES]:
            for sentence in sentences(line):
                yield number % HELD_OUT_EVERY == HELD_OUT_EVERY // 2, sentence


def _ngrams(texts: Iterable[str]) -> set[tuple[str, ...]]:
    found: set[tuple[str, ...]] = set()
    for text in texts:
        words = text.split(" ")
        if 3 <= len(words) < OVERLAP_WORDS:
            found.add(tuple(words))
        found.update(tuple(words[k : k + OVERLAP_WORDS]) for k in range(len(words) - OVERLAP_WORDS + 1))
    return found
