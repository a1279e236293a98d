"""Words, or their pieces, and ids, with ``<s>``, ``</s>`` and ``<unk>``, and what an unknown one costs."""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.segmenter import BEGIN, Segmenter, train_segmenter
from nbest.errors import ConfigError, ModelFileError
from nbest.strict_json import StrictJson

UNKNOWN = "<unk>"
START = "<s>"
END = "</s>"
SPECIAL = (END, UNKNOWN, START)  # ids 0, 1, 2
MAX_UNSEEN = 1 << 31  # types; as recipes allow
_LINES = 1000  # of a corpus, that are looked up together
_BETWEEN = "\n"  # stands between texts that are looked up together
_EMPTY, _JOINT = -1, -2  # ids of what stands between two spaces, and between two texts


def _sums(values: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(N+1,) how many of the first 0, 1, ... N are true."""
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(values)])


def words_of(text: str) -> list[str]:
    """The words of a line: split on ASCII space only (no-break spaces stand inside tokens)."""
    return [word for word in text.split(" ") if word]


@dataclass(frozen=True)
class Sequences:
    """N sequences of ids, W in all.

    flat     (W,) one after another
    lengths  (N,)
    """

    flat: NDArray[np.int64]
    lengths: NDArray[np.int64]

    @classmethod
    def of(cls, sequences: Sequence[Sequence[int]]) -> "Sequences":
        """The same, one by one."""
        lengths = np.fromiter(map(len, sequences), np.int64, len(sequences))
        return cls(np.fromiter(chain.from_iterable(sequences), np.int64, lengths.sum()), lengths)

    def __len__(self) -> int:
        return len(self.lengths)

    def tolist(self) -> list[list[int]]:
        """One by one."""
        return [ids.tolist() for ids in np.split(self.flat, np.cumsum(self.lengths))[:-1]]


class Encoded(NamedTuple):
    """N texts.

    ids         of the words, or pieces, of each
    oov_counts  (N,) how many of them are out of vocabulary
    """

    ids: Sequences
    oov_counts: NDArray[np.int64]


class _Ids(dict[str, int]):
    """Of the words that can stand in a text: all but the special ones; and of what is no word, below 0."""

    def __missing__(self, word: str) -> int:
        return 1


@dataclass(frozen=True)
class Vocabulary:
    """V types with their ids.

    words         V strings in id order; the first three are ``</s>``, ``<unk>``, ``<s>``
    unseen_types  how many types share the probability of ``<unk>`` (training types that were mapped to it)
    lowercase     whether texts are lower-cased before the look-up
    segmenter     what cuts words into pieces, where types are pieces
    running       whether the model has learnt from running text: it begins after ``</s>``, for ``<s>`` it has
                  never seen, and can go on from other sentences
    """

    words: tuple[str, ...]
    unseen_types: int = 1
    lowercase: bool = False
    segmenter: Segmenter | None = None
    running: bool = False
    _ids: _Ids = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.words[: len(SPECIAL)] != SPECIAL:
            raise ConfigError(
                "vocabulary without its special words",
                expected=f"{SPECIAL} first",
                got=str(self.words[: len(SPECIAL)]),
            )
        first = len(SPECIAL)
        ids = {word: number for number, word in enumerate(self.words[first:], first)}
        object.__setattr__(self, "_ids", _Ids({_BETWEEN: _JOINT} | ids | {"": _EMPTY}))
        if len(ids) != len(self.words) - first or any(word in ids for word in SPECIAL):
            twice = [word for word, count in Counter(self.words).items() if count > 1]
            raise ConfigError(f"vocabulary holds {len(twice)} words twice, {twice[0]!r} among them")

    def __len__(self) -> int:
        return len(self.words)

    @property
    def end_id(self) -> int:
        """Id of ``</s>``."""
        return 0

    @property
    def unknown_id(self) -> int:
        """Id of ``<unk>``."""
        return 1

    @property
    def start_id(self) -> int:
        """Id of what is read before the first word: ``<s>``, which is only ever an input, or ``</s>``."""
        return self.end_id if self.running else 2

    @property
    def nat_oov_charge(self) -> float:
        """What is added to ln P(<unk>) for one out-of-vocabulary word: -ln(unseen types).

        ``<unk>`` stands for many types, so its probability is spread evenly over them; without that, a
        frequent ``<unk>`` would reward hypotheses for their unknown words.
        """
        return -math.log(self.unseen_types)

    def encode(self, text: str) -> tuple[list[int], int]:
        """(ids of the words, or pieces, of `text`, number of them that are out of vocabulary).

        A literal ``<unk>`` is out of vocabulary as any unknown word, and so are ``<s>`` and ``</s>``.
        """
        ids = [self._id(piece) for word in self.pieces_by_word(text) for piece in word]
        return ids, ids.count(1)

    def encode_all(self, texts: Sequence[str]) -> Encoded:
        """`encode` of each, all words looked up at once: most of the time that short lists take in Python."""
        found = None if self.segmenter is not None or not texts else self._look_up(texts)
        if found is None:
            ids = Sequences.of([self.encode(text)[0] for text in texts])
        else:
            is_word = found >= 0
            ends = np.append(np.flatnonzero(found == _JOINT), len(found))
            ids = Sequences(found[is_word], np.diff(_sums(is_word)[ends], prepend=0))
        unknown = _sums(ids.flat == self.unknown_id)
        return Encoded(ids, np.diff(unknown[np.cumsum(ids.lengths)], prepend=0))

    def _look_up(self, texts: Sequence[str]) -> NDArray[np.int64] | None:
        """Ids of the words of the texts and what stands between them; None where a text holds that itself."""
        joined = f" {_BETWEEN} ".join(texts)
        words = (joined.lower() if self.lowercase else joined).split(" ")
        found = np.fromiter(map(self._ids.__getitem__, words), np.int64, len(words))
        return found if np.count_nonzero(found == _JOINT) == len(texts) - 1 else None

    def pieces_by_word(self, text: str) -> list[tuple[str, ...]]:
        """What each word of `text` is looked up as: itself, or its pieces."""
        words = words_of(text.lower() if self.lowercase else text)
        return [(word,) if self.segmenter is None else self.segmenter.pieces(word) for word in words]

    def is_unknown(self, piece: str) -> bool:
        """Whether it is looked up as ``<unk>``."""
        return self._id(piece) == self.unknown_id

    def _id(self, piece: str) -> int:
        return max(1, self._ids[piece])

    def begins_word(self) -> NDArray[np.bool_]:
        """(V,) whether a token of this id is a word, or the first piece of one, or ``</s>``."""
        if self.segmenter is None:
            return np.ones(len(self), dtype=np.bool_)
        return np.array([word == END or word.startswith(BEGIN) for word in self.words])

    def encode_corpus(self, lines: Iterable[str]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """(token ids of all lines one after the other, offsets (lines+1,)); ``</s>`` not included."""
        tokens = [np.zeros(0, dtype=np.int32)]
        lengths = [np.zeros(1, dtype=np.int64)]
        rest = iter(lines)
        while block := list(islice(rest, _LINES)):
            ids = self.encode_all(block).ids
            tokens.append(ids.flat.astype(np.int32))
            lengths.append(ids.lengths)
        return np.concatenate(tokens), np.cumsum(np.concatenate(lengths))

    def to_json(self) -> str:
        """One JSON document; of a segmenter it holds the digest."""
        pieces = {} if self.segmenter is None else {"pieces": self.segmenter.digest}
        running = {"running": True} if self.running else {}
        top = {"unseen_types": self.unseen_types, "lowercase": self.lowercase, **running, **pieces}
        return json.dumps(
            {**top, "words": self.words},
            ensure_ascii=False,
            indent=None,
            separators=(",", ":"),
        )

    @classmethod
    def from_json(
        cls, text: str | bytes, where: str, read_pieces: Callable[[], bytes] | None = None
    ) -> "Vocabulary":
        """The vocabulary written by `to_json`; raises ModelFileError naming `where` and the JSON pointer.

        read_pieces  gives the segmenter's bytes, where the document names one
        """
        read = StrictJson(where, ModelFileError)
        may_be = ("running",) if read_pieces is None else ("running", "pieces")
        top = read.mapping(read.parse(text), "", {"unseen_types", "lowercase", "words"}, may_be)
        words = read.sequence(top["words"], "/words")
        for number, word in enumerate(words):
            if not isinstance(word, str):
                raise read.wrong(f"/words/{number}", "not a string", "a string", word)
        unseen_types = read.integer(top["unseen_types"], "/unseen_types")
        if not 1 <= unseen_types <= MAX_UNSEEN:
            expected = f"an integer from 1 to {MAX_UNSEEN}"
            raise read.wrong("/unseen_types", "no number of types", expected, unseen_types)
        segmenter = None
        if read_pieces is not None and "pieces" in top:
            segmenter = Segmenter(read_pieces(), SPECIAL)
            if top["pieces"] != segmenter.digest:
                raise read.wrong(
                    "/pieces", "not of the pieces that lie beside it", segmenter.digest, top["pieces"]
                )
        lowercase = read.boolean(top["lowercase"], "/lowercase")
        running = read.boolean(top.get("running", False), "/running")
        try:
            return cls(tuple(words), unseen_types, lowercase, segmenter, running)
        except ConfigError as error:
            raise ModelFileError(
                error.message, where=f"{where}:/words", expected=error.expected, got=error.got
            ) from None


def build_vocabulary(
    lines: Iterable[str],
    *,
    max_size: int | None = None,
    min_count: int = 1,
    lowercase: bool = False,
    unseen_types: int | None = None,
    where: str | None = None,
) -> Vocabulary:
    """The types of `lines`, most frequent first, ties in code-point order.

    `max_size` counts the special words; types seen less than `min_count` times are left out.
    `unseen_types` is, unless given, the number of types left out; where none is left out (text that
    brings its own ``<unk>``), the number of types seen once, an estimate of how many more there are
    (Good-Turing). Raises ConfigError, naming the text as `where` says, if no word is left.
    """
    counts: Counter[str] = Counter()
    for line in lines:
        counts.update(words_of(line.lower() if lowercase else line))
    for special in SPECIAL:
        counts.pop(special, None)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    kept = [word for word, count in ordered if count >= min_count]
    if max_size is not None:
        kept = kept[: max(0, max_size - len(SPECIAL))]
    if not kept:
        got = f"{len(counts)} types in the training text"
        raise ConfigError("no word left for the vocabulary", where=where, got=got)
    if unseen_types is None:
        dropped = len(counts) - len(kept)
        unseen_types = max(1, dropped or sum(count == 1 for count in counts.values()))
    return Vocabulary((*SPECIAL, *kept), unseen_types, lowercase)


def build_piece_vocabulary(
    lines: Iterable[str],
    *,
    size: int,
    lowercase: bool = False,
    unseen_types: int | None = None,
    where: str | None = None,
) -> Vocabulary:
    """About `size` pieces of the words of `lines`, most frequent first, ties in code-point order.

    `size` counts the special words. `unseen_types` is, unless given, the number of characters of the text
    that no piece holds, at least one. Raises ConfigError, naming the text as `where` says, without a word.
    """
    words: Counter[str] = Counter()
    for line in lines:
        words.update(words_of(line.lower() if lowercase else line))
    if not words:
        got = "0 types in the training text"
        raise ConfigError("no word left for the vocabulary", where=where, got=got)
    segmenter = train_segmenter(words, size, SPECIAL)
    counts = Counter(dict.fromkeys([BEGIN, *segmenter.all_pieces()], 0))  # other words need the rest of them
    unknown: set[str] = set()
    for word, count in words.items():
        for piece in segmenter.pieces(word):
            if piece in SPECIAL:
                continue
            if segmenter.knows(piece):
                counts[piece] += count
            else:
                unknown.add(piece)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    kept = [piece for piece, _ in ordered]
    return Vocabulary((*SPECIAL, *kept), unseen_types or max(1, len(unknown)), lowercase, segmenter)
