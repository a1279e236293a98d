"""Models by name: those that ship with the product, or any directory."""

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from models.model_folder import CONFIG
from nbest.errors import NotFoundError

if TYPE_CHECKING:  # torch, which takes seconds: only once a model is opened
    from models.piece_scorer import PieceScorer
    from models.scoring.engine import Precision
    from models.scoring.scorer import LanguageModelScorer


def shipped() -> dict[str, Path]:
    """Name and directory of every model that ships, by name."""
    folder = Path(str(resources.files("models"))) / "pretrained"
    found = sorted(folder.glob("*/" + CONFIG))
    return {path.parent.name: path.parent for path in found}


def names() -> list[str]:
    """Names of the models that ship."""
    return list(shipped())


def resolve(name_or_path: str) -> Path:
    """The directory of a shipped model's name, or of a path; a path wins where both exist.

    Raises NotFoundError naming the shipped ones.
    """
    path = Path(name_or_path)
    if (path / CONFIG).is_file():
        return path
    known = shipped()
    if name_or_path in known:
        return known[name_or_path]
    what = "a directory without a model" if path.is_dir() else "no such model"
    if path.is_file():
        what = "a file, and models are directories"
    raise NotFoundError(
        f"{what}: {name_or_path!r}",
        expected=f"a model directory, or one of {', '.join(known) or 'no shipped models'}",
    )


def open_scorer(
    name_or_path: str,
    device: str = "cpu",
    name: str | None = None,
    *,
    self_normalized: bool = False,
    precision: "Precision" = "fp32",
) -> "LanguageModelScorer | PieceScorer":
    """The model as a scorer; its name is the directory's unless another is given.

    self_normalized  for models trained with NCE: no sum over the vocabulary
    precision        `int8` is faster, with the compiled kernels, and a little off
    """
    from models import checkpoint
    from models.piece_scorer import PieceScorer, of_pieces
    from models.scoring.scorer import LanguageModelScorer

    path = resolve(name_or_path)
    loaded = checkpoint.load(path, device)
    name = name or path.resolve().name
    if loaded.vocabulary.segmenter is None:
        return LanguageModelScorer(loaded, name, self_normalized=self_normalized, precision=precision)
    inner = LanguageModelScorer(of_pieces(loaded), name, self_normalized=self_normalized, precision=precision)
    return PieceScorer(inner, loaded.vocabulary)
