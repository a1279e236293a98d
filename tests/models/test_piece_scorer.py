"""A model of pieces scores words: sums are the reference's, tokens are words, counts are of words."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from models import catalog, checkpoint
from models.architectures import architecture
from models.checkpoint import Checkpoint, ModelCard
from models.info import describe
from models.language_model import LanguageModel
from models.piece_scorer import PieceScorer
from models.scoring.reference import ReferenceScorer
from models.scoring.scorer import LanguageModelScorer
from models.vocabulary import SPECIAL, Vocabulary, build_piece_vocabulary
from nbest.errors import ModelFileError

LINES = [
    "the walking dog walks",
    "a walker walked the dogs",
    "talk talks talked talking",
    "dogs talk the talk",
]
TEXTS = ["the dog walks", "The dogtalk 中文 talks", "", "the dog walks", "<unk> talk  talker", "中"]


@pytest.fixture
def saved_pieces(tmp_path: Path) -> Checkpoint:
    vocabulary = build_piece_vocabulary(LINES, size=40, lowercase=True, unseen_types=9)
    torch.manual_seed(1)
    model = LanguageModel(architecture("lstm", len(vocabulary), 16, 1))
    with torch.no_grad():
        for _, matrix in model.slots():
            for parameter in matrix.parameters():
                parameter.mul_(8)
    checkpoint.save(tmp_path / "pieces", model, vocabulary, ModelCard(name="pieces"))
    return checkpoint.load(tmp_path / "pieces")


def test_scores_are_the_references(saved_pieces: Checkpoint) -> None:
    scorer = catalog.open_scorer(str(saved_pieces.path))
    assert isinstance(scorer, PieceScorer)
    reference = ReferenceScorer(saved_pieces.model, saved_pieces.vocabulary)
    scores = scorer.score(TEXTS)
    assert scores.nat_log_probs.tolist() == pytest.approx([reference.score(text) for text in TEXTS], abs=1e-4)
    assert scores.token_counts.tolist() == [4, 5, 1, 4, 4, 2]
    assert scores.oov_counts.tolist() == [0, 1, 0, 0, 1, 1]


def test_tokens_are_words_that_add_up(saved_pieces: Checkpoint) -> None:
    scorer = catalog.open_scorer(str(saved_pieces.path), name="p")
    scores, tokens = scorer.score(TEXTS), scorer.score_tokens(TEXTS)
    assert [[one.token for one in text] for text in tokens] == [
        ["the", "dog", "walks", "</s>"],
        ["The", "dogtalk", "中文", "talks", "</s>"],
        ["</s>"],
        ["the", "dog", "walks", "</s>"],
        ["<unk>", "talk", "talker", "</s>"],
        ["中", "</s>"],
    ]
    sums = [sum(one.nat_log_prob for one in text) for text in tokens]
    assert sums == pytest.approx(scores.nat_log_probs.tolist(), abs=1e-4)
    assert [[one.token for one in text if one.is_oov] for text in tokens] == [
        [],
        ["中文"],
        [],
        [],
        ["<unk>"],
        ["中"],
    ]
    vocabulary = saved_pieces.vocabulary
    by_piece = ReferenceScorer(saved_pieces.model, vocabulary).token_scores(TEXTS[1])
    lengths = [*map(len, vocabulary.pieces_by_word(TEXTS[1])), 1]
    wanted = [float(part.sum()) for part in torch.tensor(by_piece).split(lengths)]
    assert [one.nat_log_prob for one in tokens[1]] == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize("make", ["score_task", "token_task"])
def test_a_task_counts_what_was_computed(saved_pieces: Checkpoint, make: str) -> None:
    scorer = catalog.open_scorer(str(saved_pieces.path))
    assert isinstance(scorer, PieceScorer)
    task, frontier = getattr(scorer, make)(TEXTS), scorer.frontier()
    frontier.add(task.groups(), task.keep)
    while not frontier.is_idle:
        frontier.step()
    assert 0 < task.unique_tokens == frontier.nodes_read


def test_the_scorer_has_the_models_name_digest_and_card(saved_pieces: Checkpoint) -> None:
    scorer = catalog.open_scorer(str(saved_pieces.path))
    assert (scorer.name, scorer.digest) == ("pieces", saved_pieces.digest)
    assert scorer.card == saved_pieces.card


def test_a_model_of_words_is_scored_as_ever(saved: Callable[..., Checkpoint]) -> None:
    assert isinstance(catalog.open_scorer(str(saved("lstm").path)), LanguageModelScorer)


def test_pieces_come_back_from_disk(saved_pieces: Checkpoint, tmp_path: Path) -> None:
    assert saved_pieces.vocabulary.segmenter is not None
    checkpoint.save(tmp_path / "again", saved_pieces.model, saved_pieces.vocabulary, saved_pieces.card)
    again = checkpoint.load(tmp_path / "again")
    assert again.vocabulary == saved_pieces.vocabulary
    assert again.digest == saved_pieces.digest
    size = (saved_pieces.path / "pieces.model").stat().st_size
    vocabulary = (saved_pieces.path / "vocabulary.json").stat().st_size
    assert describe(saved_pieces).vocabulary_bytes == size + vocabulary


def test_pieces_that_are_missing_or_others(saved_pieces: Checkpoint) -> None:
    file = saved_pieces.path / "pieces.model"
    file.write_bytes(build_piece_vocabulary(LINES, size=20).segmenter.model)  # type: ignore[union-attr]
    with pytest.raises(
        ModelFileError, match=r"vocabulary.json:/pieces: not of the pieces that lie beside it"
    ):
        checkpoint.load(saved_pieces.path)
    file.write_bytes(b"nothing")
    with pytest.raises(ModelFileError, match="not a SentencePiece model"):
        checkpoint.load(saved_pieces.path)
    file.unlink()
    with pytest.raises(ModelFileError, match=r"pieces.model: model file is missing"):
        checkpoint.load(saved_pieces.path)


def test_a_vocabulary_of_words_has_no_pieces() -> None:
    assert "pieces" not in Vocabulary((*SPECIAL, "a")).to_json()
