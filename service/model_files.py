"""What a model's files say without loading it: its system, its bytes, its digest, its card."""

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

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


def facts(directory: Path) -> ModelFacts:
    """Facts of the model in `directory`; a broken model has fewer, and says so when it is loaded."""
    try:
        states = [(directory / name).stat() for name in FILES]
    except OSError:
        return ModelFacts()
    card = directory / CARD
    changed = card.stat().st_mtime_ns if card.is_file() else 0
    return _facts(directory, tuple((one.st_size, one.st_mtime_ns) for one in states), changed)


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
