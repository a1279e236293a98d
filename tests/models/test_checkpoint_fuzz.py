"""Any bytes in place of a model's: it loads and gives finite scores, or ModelFileError names the file.

Nothing else is ever raised, by loading or by scoring, with each way to store a matrix and with each engine.
"""

import json
import random
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import checkpoint
from models.checkpoint import ModelCard
from models.compression import compress, int8_plan
from models.language_model import LanguageModel
from models.matrices.low_rank import LowRankSpec
from models.matrices.pruned import PrunedSpec
from models.matrices.quantized import QuantizedSpec
from models.scoring.native_engine import kernels
from models.scoring.scorer import LanguageModelScorer
from models.vocabulary import Vocabulary
from nbest.errors import ModelFileError

Fuzz = Callable[[int], settings]
FILES = (checkpoint.CONFIG, checkpoint.WEIGHTS, checkpoint.VOCABULARY, checkpoint.CARD)
TEXTS = ["a man walks the dog", "the red house", "w1 w2 zebra", ""]
COMPRESSED = {"pruned": PrunedSpec(share=0.6), "int8": QuantizedSpec(), "low rank": LowRankSpec(rank=5)}
IN_BYTES = ("pruned", "low rank", "slim")
SYSTEMS = ("lstm", "bllm", "slim", "hashnet", "sparse", "low-rank", "projected", "tensor-train")
HOSTILE: tuple[Any, ...] = (
    None, True, -1, 0, 1, 2, 7, 1 << 16, 1 << 31, 1 << 64, 1e308, -0.0, 5e-324, "", "a", "\u2028", "dense",
    "binary", "slim", "hash", "mean", [], [0], [[]], {}, {"kind": "dense"}, {"kind": "slim"}, "../../etc",
    "F32", "U8", "F64", 0.5,
)  # fmt: skip


@pytest.fixture
def make(make_model: Callable[..., LanguageModel]) -> Callable[[str], LanguageModel]:
    """A model of a system, or one that was compressed; small, for there are many."""

    def model(name: str) -> LanguageModel:
        if name.endswith(" in bytes"):
            made = model(name.removesuffix(" in bytes"))
            return compress(made, int8_plan(made.config))
        if name not in COMPRESSED:
            return make_model(name, **({"rank": 4} if name in ("projected", "tensor-train") else {}))
        spec = COMPRESSED[name]
        return compress(make_model("lstm"), {"gates": spec, "output": spec, "embedding": spec})

    return model


def places(document: Any, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The path of every value of a JSON document; of a long list, of its first few."""
    yield at
    inner = (
        document.items()
        if isinstance(document, dict)
        else enumerate(document[:4])
        if isinstance(document, list)
        else ()
    )
    for key, value in inner:
        yield from places(value, (*at, key))


def changed(document: Any, rng: random.Random) -> Any:
    """The document with a value replaced, taken away, or put beside another."""
    where = rng.choice(list(places(document)))
    if not where:
        return rng.choice(HOSTILE)
    copy = json.loads(json.dumps(document))
    holder = copy
    for key in where[:-1]:
        holder = holder[key]
    match rng.randrange(4):
        case 0:
            del holder[where[-1]]
        case 1 if isinstance(holder, dict):
            holder[rng.choice(("kind", "parts", "surprise", "rank", "scale"))] = rng.choice(HOSTILE)
        case 2 if isinstance(holder[where[-1]], int):
            holder[where[-1]] += rng.choice((-1, 1, 8, -8))
        case _:
            holder[where[-1]] = rng.choice(HOSTILE)
    return copy


def mutated(content: bytes, rng: random.Random) -> bytes:
    """Some bytes changed, taken out, put in or doubled, or the end cut off."""
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        if not content:
            return bytes(rng.randrange(256) for _ in range(rng.randrange(20)))
        # Half of the time near the beginning: headers stand there.
        start = rng.randrange(len(content) if rng.random() < 0.5 else min(len(content), 600))
        count = rng.choice((1, 1, 2, 4, 8, 64, len(content)))
        match rng.randrange(6):
            case 0:
                content = (
                    content[:start] + bytes([content[start] ^ (1 << rng.randrange(8))]) + content[start + 1 :]
                )
            case 1:
                content = content[:start] + rng.randbytes(count) + content[start + count :]
            case 2:
                content = content[:start] + content[start + count :]
            case 3:
                content = content[:start] + rng.randbytes(count) + content[start:]
            case 4:
                content = content[: start + count] + content[start:]
            case _:  # a number that is large, infinite or none
                wrong = struct.pack("<f", rng.choice((np.inf, -np.inf, np.nan, 3e38, -3e38, 1e-45)))
                start -= start % 4
                content = content[:start] + wrong + content[start + 4 :]
    return content


def spoil(path: Path, rng: random.Random) -> None:
    """One of the directory's files is another now."""
    file = path / rng.choice((*FILES, checkpoint.WEIGHTS))
    content = file.read_bytes()
    if rng.random() < 0.5:
        file.write_bytes(mutated(content, rng))
    elif file.name != checkpoint.WEIGHTS:
        file.write_text(json.dumps(changed(json.loads(content), rng)), "utf-8")
    else:
        (length,) = struct.unpack("<Q", content[:8])
        header = json.dumps(changed(json.loads(content[8 : 8 + length]), rng)).encode()
        file.write_bytes(struct.pack("<Q", len(header)) + header + content[8 + length :])


@pytest.mark.parametrize("name", [*SYSTEMS, *COMPRESSED, *(f"{name} in bytes" for name in IN_BYTES)])
def test_a_spoilt_model_is_refused_or_scores(
    make: Callable[[str], LanguageModel], vocabulary: Vocabulary, tmp_path: Path, fuzz: Fuzz, name: str
) -> None:
    whole = tmp_path / "whole"
    checkpoint.save(whole, make(name), vocabulary, ModelCard(name="m", training={"rate": 0.1}))
    engines: list[dict[str, Any]] = [{"native": False}]
    if kernels() is not None:
        engines += [{"native": True}, {"native": True, "precision": "int8"}]
    ended: list[bool] = []

    @fuzz(60)
    @given(st.randoms(use_true_random=False))
    def holds(rng: random.Random) -> None:
        spoilt = tmp_path / "spoilt"
        shutil.rmtree(spoilt, ignore_errors=True)
        shutil.copytree(whole, spoilt)
        spoil(spoilt, rng)
        try:
            loaded = checkpoint.load(spoilt)
            for engine in engines:
                scores = LanguageModelScorer(loaded, "m", **engine).score(TEXTS)
                assert np.isfinite(scores.nat_log_probs).all()
        except ModelFileError as error:
            said = str(error)
        else:
            said = f"{spoilt} scores"
        assert said.startswith(str(spoilt)), said
        ended.append(said == f"{spoilt} scores")

    holds()
    assert True in ended
    assert False in ended
