"""A KenLM n-gram model as a scorer: `--lm kenlm:MODEL`, for whoever has the extra `kenlm`.

Another language model becomes a scorer in the same way: a function that opens it, named in the entry points
of its distribution under `nbest.scorers`.
"""

import hashlib
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nbest.errors import ConfigError, ModelFileError, NotFoundError
from rescoring.scorer import ScoreArrays

_NATS = math.log(10)  # KenLM's logarithms are to base 10


class TokenScore(NamedTuple):
    """One token of a text: a word, or ``</s>``."""

    token: str
    nat_log_prob: float
    is_oov: bool


class KenlmScorer:
    """An ARPA or binary file; an unknown word has the model's own P(<unk>), and is counted."""

    def __init__(self, model: Any, path: Path, name: str) -> None:
        self._model = model
        self._path = path
        self._name = name
        self._digest: str | None = None

    @property
    def name(self) -> str:
        """The file's, without its last suffix."""
        return self._name

    @property
    def digest(self) -> str:
        """``sha256:HEX`` of the file."""
        if self._digest is None:
            with self._path.open("rb") as stream:
                self._digest = f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"
        return self._digest

    def score(self, texts: Sequence[str]) -> ScoreArrays:
        """ln P of each text and its ``</s>``, tokens, unknown words."""
        rows = [self.score_tokens([text])[0] for text in texts]
        return ScoreArrays(
            np.array([math.fsum(one.nat_log_prob for one in row) for row in rows], dtype=np.float64),
            np.array([len(row) for row in rows], dtype=np.int64),
            np.array([sum(one.is_oov for one in row) for row in rows], dtype=np.int64),
        )

    def score_tokens(self, texts: Sequence[str]) -> list[list[TokenScore]]:
        """Per text, the score of each word and of ``</s>``."""
        scored = []
        for text in texts:
            words = [word for word in text.split(" ") if word]
            found = self._model.full_scores(" ".join(words), bos=True, eos=True)
            named = zip([*words, "</s>"], found, strict=True)
            scored.append([TokenScore(word, log10 * _NATS, bool(oov)) for word, (log10, _, oov) in named])
        return scored


def open_scorer(path: str | os.PathLike[str]) -> KenlmScorer:
    """Raises ConfigError without the package, NotFoundError or ModelFileError for the file."""
    try:
        import kenlm
    except ImportError:
        raise ConfigError("KenLM is not installed", expected="pip install 'nbest[kenlm]'") from None
    found = Path(path)
    if not found.is_file():
        raise NotFoundError("no such KenLM model", where=str(found))
    try:
        model = kenlm.Model(str(found))
    except OSError as error:
        what = str(error).strip().splitlines()[-1]
        raise ModelFileError(f"KenLM cannot read it ({what})", where=str(found)) from None
    return KenlmScorer(model, found, found.stem)
