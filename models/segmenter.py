"""Words cut into pieces by SentencePiece, so that no word is unknown but for characters never seen.

A piece that begins a word begins with ``▁``; no piece goes across words. The package `sentencepiece` (the
extra of that name) is loaded when a model of pieces is.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from nbest.errors import ConfigError, ModelFileError
from nbest.signature import sha256_hex

BEGIN = "▁"
COVERAGE = 0.9999  # of the training text's characters; the rest, most of other scripts, is unknown
_WORDS_KEPT = 1 << 16  # whose pieces are remembered: most words of a text


@dataclass(frozen=True)
class Segmenter:
    """A SentencePiece model, as the bytes of its file; raises ModelFileError where they are none.

    whole  words that are never cut: they stand for themselves
    """

    model: bytes
    whole: tuple[str, ...]
    _cut: Any = field(init=False, repr=False, compare=False)
    _processor: Any = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        processor = _open(self.model)

        def cut(word: str) -> tuple[str, ...]:
            if word in self.whole:
                return (BEGIN, word)
            if BEGIN in word:  # the library takes it for a space
                return (BEGIN, *word.replace(BEGIN, "\ufffd"))
            parts: list[str] = []
            for piece in processor.encode(word, out_type=str):
                parts += [piece] if self.knows(piece) else piece  # a run of unknown characters
            return tuple(parts)

        object.__setattr__(self, "_processor", processor)
        object.__setattr__(self, "_cut", lru_cache(_WORDS_KEPT)(cut))

    def pieces(self, word: str) -> tuple[str, ...]:
        """The pieces of a word, the first of which begins with ``▁``; unknown characters one by one."""
        found: tuple[str, ...] = self._cut(word)
        return found

    def knows(self, piece: str) -> bool:
        """Whether the model has such a piece."""
        return bool(self._processor.piece_to_id(piece) != self._processor.unk_id())

    def all_pieces(self) -> list[str]:
        """Every piece it may cut."""
        every = map(self._processor.id_to_piece, range(self._processor.get_piece_size()))
        return [piece for piece in every if self.knows(piece) and piece not in self.whole]

    @property
    def digest(self) -> str:
        """``sha256:HEX`` of the model's bytes."""
        return f"sha256:{sha256_hex(self.model)}"


def train_segmenter(counts: Mapping[str, int], size: int, whole: tuple[str, ...]) -> Segmenter:
    """At most `size` pieces (``<unk>``, ``<s>`` and ``</s>`` counted) for words with their counts.

    A unigram model (Kudo, "Subword Regularization"), the same for the same counts. Raises ConfigError where
    there are more characters than that.
    """
    library = _library()
    lines = (
        f"{word}\t{count}"
        for word, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        if word not in whole and "\t" not in word and BEGIN not in word
    )
    written = io.BytesIO()
    try:
        library.SentencePieceTrainer.train(
            sentence_iterator=lines,
            input_format="tsv",
            model_writer=written,
            model_type="unigram",
            vocab_size=size,
            hard_vocab_limit=False,
            character_coverage=COVERAGE,
            normalization_rule_name="identity",
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as error:
        why = str(error).rpartition("] ")[2].split(". ")[0]
        raise ConfigError(f"no pieces can be had of the training text ({why})", got=f"size {size}") from None
    return Segmenter(written.getvalue(), whole)


def _open(model: bytes) -> Any:
    library = _library()
    try:
        return library.SentencePieceProcessor(model_proto=model)
    except RuntimeError as error:
        raise ModelFileError(f"not a SentencePiece model ({error})") from None


def _library() -> Any:
    try:
        import sentencepiece
    except ImportError:
        raise ConfigError(
            "a model of pieces needs SentencePiece", expected="pip install 'nbest[sentencepiece]'"
        ) from None
    return sentencepiece
