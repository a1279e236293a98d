"""What a model's files say without loading it: its system, its bytes, its digest, its card."""

import json
import stat
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from models.model_folder import check_no_links_out
from nbest.errors import ModelFileError
from nbest.signature import sha256_hex

FILES = ("config.json", "model.safetensors", "vocabulary.json")  # in this order the digest is over them
CARD = "card.json"
_MOST_BYTES = 256 * 1024 * 1024  # some 0.2 s to read and hash, once; a larger one's is known when loaded
_LONGEST_JSON = 1024 * 1024
_SUMMARY = ("description", "licence", "limits")
_FIGURES = ("perplexity", "oov_rate", "measured")


@dataclass(frozen=True)
class ModelFacts:
    """None, or nothing, where the files do not say it."""

    system: str | None = None
    bytes: int | None = None  # of configuration, weights and vocabulary
    digest: str | None = None
    card: tuple[tuple[str, str], ...] = ()
    figures: tuple[tuple[str, tuple[tuple[str, float], ...]], ...] = ()


def facts(directory: Path, *, links: bool = False) -> ModelFacts:
    """Facts of the model in `directory`; a broken model has fewer, and says so when it is loaded.

    links  whether files may be links to somewhere else: of our own models, as their installer left them
    """
    try:
        if not links:
            check_no_links_out(directory)
        names = (*FILES, CARD) if (directory / CARD).exists() else FILES
        states = [(directory / name).stat() for name in names]
    except (OSError, ModelFileError):
        return ModelFacts()
    if not all(stat.S_ISREG(one.st_mode) for one in states):
        return ModelFacts()  # to open a pipe is to wait for its other end
    changed = states[len(FILES)].st_mtime_ns if len(states) > len(FILES) else 0
    return _facts(directory, tuple((one.st_size, one.st_mtime_ns) for one in states[: len(FILES)]), changed)


@lru_cache(maxsize=256)
def _facts(directory: Path, states: tuple[tuple[int, int], ...], _changed: int) -> ModelFacts:
    """Read once for each state of the files."""
    size = sum(one for one, _ in states)
    try:
        chunks = [(directory / name).read_bytes() for name in FILES] if size <= _MOST_BYTES else None
    except OSError:
        return ModelFacts(bytes=size)
    system = _object(directory / FILES[0]).get("system")
    card = _object(directory / CARD)
    summary = tuple((key, card[key]) for key in _SUMMARY if card.get(key) and isinstance(card[key], str))
    return ModelFacts(
        system if isinstance(system, str) else None,
        size,
        f"sha256:{sha256_hex(*chunks)}" if chunks else None,
        summary,
        tuple((key, _numbers(card.get(key))) for key in _FIGURES if _numbers(card.get(key))),
    )


def _numbers(content: Any) -> tuple[tuple[str, float], ...]:
    """The finite numbers of an object, by name."""
    pairs = content.items() if isinstance(content, dict) else ()
    return tuple(
        (name, float(value))
        for name, value in pairs
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
    )


def _object(path: Path) -> dict[str, Any]:
    """The JSON object of a file; empty where there is none."""
    try:
        if path.stat().st_size > _LONGEST_JSON:
            return {}
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
