"""Model files that were made to do harm: refused by name, at once, and in little memory."""

import ast
import importlib.util
import json
import os
import re
import shutil
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest

from models import checkpoint
from models.checkpoint import Checkpoint
from models.model_folder import MOST_BYTES, check_no_links_out
from models.tensor_file import MOST_HEADER_BYTES
from nbest.errors import ModelFileError

Save = Callable[..., Checkpoint]
MIB = 1 << 20
CLEAR, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


def refused(path: Path, words: str, *, most_mib: int = 64, seconds: float = 20) -> None:
    """Loading raises ModelFileError with a file of the directory in it, soon, and without much memory."""
    peak = _new_peak()
    began = perf_counter()
    with pytest.raises(ModelFileError, match=words) as caught:
        checkpoint.load(path)
    assert perf_counter() - began < seconds
    assert peak() < most_mib * MIB
    assert str(caught.value).startswith(str(path)), caught.value


def _new_peak() -> Callable[[], int]:
    """How many bytes more than now were ever in memory since; 0 where the system does not tell."""
    try:
        CLEAR.write_text("5")  # Linux: the high-water mark is where we are
        before = _high_water()
    except OSError:
        return lambda: 0
    return lambda: _high_water() - before


def _high_water() -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", STATUS.read_text())
    assert found is not None
    return int(found[1]) * 1024


def change_config(path: Path, **changes: Any) -> None:
    document = json.loads((path / checkpoint.CONFIG).read_text())
    (path / checkpoint.CONFIG).write_text(json.dumps(document | changes))


@pytest.mark.parametrize(
    ("system", "changes", "words"),
    [
        ("lstm", {"hidden_size": 10**9}, "config.json:/hidden_size: .*less than or equal to 65536"),
        ("lstm", {"hidden_size": 65536}, "tensor 'layer0.bias' does not fit the configuration"),
        ("lstm", {"embedding_size": 65536}, "'weight' does not fit the configuration"),
        ("lstm", {"layers": 10**6}, "config.json:/layers: .*less than or equal to 256"),
        ("lstm", {"layers": 256}, "tensor 'layer1.bias' is missing"),
        ("lstm", {"segments": 1 << 31}, "parallel cells, above"),
        ("lstm", {"vocabulary_size": 1 << 31}, "vocabulary and configuration disagree"),
        ("lstm", {"output_bias": True, "hidden_size": 65536}, "layer0.bias"),
        ("lstm", {"projection_size": 65536, "projection": {"kind": "dense"}}, "does not fit|layer0"),
        (
            "lstm",
            {"hidden_size": 65536, "gates": {"kind": "tensor_train", "rank": [1]}},
            "tensor 'layer0.bias' does not fit",
        ),
        (
            "lstm",
            {"embedding": {"kind": "slim", "parts": 65536, "sub_vectors": 65536, "by_position": False,
                           "assignment": "hash"}, "embedding_size": 65536},
            "does not fit|hashed",
        ),
        ("lstm", {"gates": {"kind": "low_rank", "rank": 1 << 31}}, "low rank: more than the matrix can have"),
        ("lstm", {"output": {"kind": "pruned", "share": 1.0}}, "tensor 'values' is missing"),
        ("lstm", {"embedding": {"kind": "frequency", "density": 1e-300}}, "frequency"),
    ],
)  # fmt: skip
def test_a_configuration_that_promises_too_much(
    saved: Save, system: str, changes: dict[str, Any], words: str
) -> None:
    path = saved(system).path
    change_config(path, **changes)
    refused(path, words)


def test_hashed_codes_are_bounded_where_no_file_bounds_them(saved: Save, monkeypatch: Any) -> None:
    path = saved("hashnet").path
    monkeypatch.setattr("models.matrices.slim.MOST_HASHED", 100)
    refused(path, "model.safetensors: embedding: too many hashed codes; expected at most 100; got 77 of")


def weights_of(path: Path) -> tuple[dict[str, Any], bytes]:
    content = (path / checkpoint.WEIGHTS).read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def write_weights(path: Path, header: bytes, data: bytes, length: int | None = None) -> None:
    said = len(header) if length is None else length
    (path / checkpoint.WEIGHTS).write_bytes(struct.pack("<Q", said) + header + data)


FIRST = "embedding.weight"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"data_offsets": [0, 10**12]}, "corrupt"),
        ({"data_offsets": [-6160, 0]}, "corrupt; expected numbers from 0"),
        ({"data_offsets": [6160, 0]}, r"corrupt; expected \[from, to\]"),
        ({"data_offsets": [0]}, "corrupt"),
        ({"data_offsets": [0.0, 6160.0]}, "not an integer"),
        ({"data_offsets": [True, 6160]}, "not an integer"),
        ({"data_offsets": "0"}, "not a list"),
        ({"shape": [77, 10**12]}, "corrupt"),
        ({"shape": [-77, -20]}, "corrupt; expected numbers from 0"),
        ({"shape": [2**62, 4]}, "corrupt; expected numbers from 0"),
        ({"shape": [2**40, 2**40, 0]}, "corrupt"),
        ({"shape": [1] * 100 + [77, 20]}, "corrupt"),
        ({"shape": [20, 77]}, "does not fit the configuration"),
        ({"dtype": "PICKLE"}, "unknown type; expected one of BOOL, U8"),
        ({"dtype": "F8_E4M3"}, "unknown type"),
        ({"dtype": ["F32"]}, "not a string"),
        ({"dtype": "I32"}, "does not fit the configuration; expected .*float32; got .*int32"),
        ({"dtype": "F64", "shape": [77, 10]}, "does not fit the configuration"),
        ({"more": 1}, "unknown key"),
    ],
)
def test_a_header_that_lies(saved: Save, change: dict[str, Any], words: str) -> None:
    path = saved("lstm").path
    header, data = weights_of(path)
    header[FIRST] |= change
    write_weights(path, json.dumps(header).encode(), data)
    refused(path, rf"model\.safetensors.*{words}")


def test_a_negative_scale_of_bits(saved: Save) -> None:
    path = saved("bllm").path
    header, data = weights_of(path)
    start, end = header["output.scale"]["data_offsets"]
    write_weights(path, json.dumps(header).encode(), data[:start] + struct.pack("<f", -0.25) + data[end:])
    refused(path, r"model\.safetensors: output: tensor 'scale' is negative; expected 0 or more; got -0.25")


@pytest.mark.parametrize("kind", ["overlap", "gap", "more", "less", "twice", "no object", "unknown"])
def test_tensors_in_disorder(saved: Save, kind: str) -> None:
    path = saved("lstm").path
    header, data = weights_of(path)
    text = ""
    if kind == "overlap":
        last = max(header, key=lambda name: header[name]["data_offsets"][1])
        header["again"] = header[last]
    elif kind == "gap":
        start = len(data) + 4
        header["after"] = {"dtype": "U8", "shape": [4], "data_offsets": [start, start + 4]}
        data += bytes(8)
    elif kind in ("more", "less"):
        data = data + b"\0" if kind == "more" else data[:-1]
    elif kind == "twice":
        text = json.dumps(header)[:-1] + f', "{FIRST}": {json.dumps(header[FIRST])}}}'
    elif kind == "no object":
        text = "[]"
    else:
        header["exploit"] = {"dtype": "U8", "shape": [0], "data_offsets": [len(data)] * 2}
    write_weights(path, (text or json.dumps(header)).encode(), data)
    refused(path, r"model\.safetensors")


@pytest.mark.parametrize("length", [0, 1, MOST_HEADER_BYTES + 1, 100 * MIB, 10**12, 2**63, 2**64 - 1])
def test_a_header_of_absurd_length(saved: Save, length: int) -> None:
    path = saved("lstm").path
    header, data = weights_of(path)
    write_weights(path, json.dumps(header).encode(), data, length)
    refused(path, r"model\.safetensors: corrupt or truncated \(a header of \d+ bytes")


def test_a_header_of_100_mb_that_is_there(saved: Save) -> None:
    """A sparse file: it costs the one who made it nothing."""
    path = saved("lstm").path
    with (path / checkpoint.WEIGHTS).open("wb") as stream:
        stream.write(struct.pack("<Q", 100 * MIB))
        stream.truncate(101 * MIB)
    refused(path, "a header of 104857600 bytes, above")


def test_a_terabyte_of_nothing(saved: Save) -> None:
    path = saved("lstm").path
    header, _ = weights_of(path)
    text = json.dumps({**header, "zeros": {"dtype": "U8", "shape": [10**12], "data_offsets": [0, 10**12]}})
    with (path / checkpoint.WEIGHTS).open("wb") as stream:
        stream.write(struct.pack("<Q", len(text)) + text.encode())
        stream.truncate(8 + len(text) + 10**12)
    refused(path, r"model\.safetensors: corrupt")


@pytest.mark.parametrize("name", [checkpoint.CONFIG, checkpoint.CARD, checkpoint.VOCABULARY])
def test_json_without_end(saved: Save, name: str) -> None:
    path = saved("lstm").path
    os.truncate(path / name, MOST_BYTES[name] + 1)
    refused(
        path, rf"{name}: model file is too large; expected at most {MOST_BYTES[name]} bytes", most_mib=200
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"words": ["</s>", "<unk>"]}, "vocabulary without its special words"),
        ({"words": {"0": "</s>"}}, "/words: not a list"),
        ({"words": [1]}, "/words/0: not a string"),
        ({"words": ["</s>", "<unk>", "<s>"] + ["a"] * 74}, "holds 1 words twice"),
        ({"words": ["</s>", "<unk>", "<s>"] + ["</s>"] * 74}, "twice"),
        ({"unseen_types": 0}, "/unseen_types"),
        ({"unseen_types": 10**400}, "/unseen_types"),
        ({"unseen_types": 1.5}, "/unseen_types: not an integer"),
        ({"lowercase": "yes"}, "/lowercase: neither true nor false"),
        ({"pieces": "sha256:0"}, r"pieces\.model: model file is missing"),
        ({"surprise": 1}, "/surprise: unknown key"),
    ],
)
def test_a_hostile_vocabulary(saved: Save, change: dict[str, Any], words: str) -> None:
    path = saved("lstm").path
    document = json.loads((path / checkpoint.VOCABULARY).read_text("utf-8"))
    (path / checkpoint.VOCABULARY).write_text(json.dumps(document | change))
    refused(path, words)


@pytest.mark.parametrize(
    "content", [b"", b"\x0a\xff\xff\xff\xff\x0f", b"\0" * 1000, b"\x80\x04cos\nsystem\n."]
)
def test_pieces_that_are_none(saved: Save, content: bytes) -> None:
    pytest.importorskip("sentencepiece")
    path = saved("lstm").path
    document = json.loads((path / checkpoint.VOCABULARY).read_text("utf-8"))
    (path / checkpoint.VOCABULARY).write_text(json.dumps(document | {"pieces": "sha256:0"}))
    (path / checkpoint.PIECES).write_bytes(content)
    refused(path, "pieces")


FILES = [checkpoint.CONFIG, checkpoint.WEIGHTS, checkpoint.VOCABULARY, checkpoint.CARD]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kind", ["pipe", "socket", "directory", "device", "endless device", "circle"])
def test_what_is_no_file(saved: Save, name: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved("lstm").path
    (path / name).unlink()
    if kind == "pipe":
        os.mkfifo(path / name)
    elif kind == "socket":
        monkeypatch.chdir(path)  # a socket's name is short
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(name)
    elif kind == "directory":
        (path / name).mkdir()
    elif kind == "circle":
        (path / name).symlink_to(name)
    else:
        (path / name).symlink_to("/dev/null" if kind == "device" else "/dev/zero")
    what = {"circle": "cannot be read", "endless device": "a device"}.get(kind, f"a {kind}")
    refused(path, rf"{name}: (not a regular file; expected a file; got )?{what}")


@pytest.mark.parametrize("name", FILES)
def test_links_out_of_the_directory_are_refused_where_they_are_not_the_users(
    saved: Save, name: str, tmp_path: Path
) -> None:
    path = saved("lstm").path
    check_no_links_out(path)
    inside = path / "real"
    (path / name).rename(inside)
    (path / name).symlink_to("real")
    check_no_links_out(path)
    shutil.move(inside, tmp_path / "outside")
    for target in (tmp_path / "outside", "../outside", "nowhere", "/dev/zero"):
        (path / name).unlink()
        (path / name).symlink_to(target)
        if target == "nowhere":  # it leads to nothing, but not out
            check_no_links_out(path)
            continue
        with pytest.raises(ModelFileError, match=rf"{name}: {name} is a link out of the model's directory"):
            check_no_links_out(path)
    (path / name).unlink()
    (path / name).symlink_to("../outside")
    assert checkpoint.load(path).card.name == "lstm"  # the user's own, from the command line


def _imported(path: Path) -> set[str]:
    """Every module that a file names in an import, of functions too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def test_nothing_that_loading_reaches_unpickles(repository: Path) -> None:
    """From the modules that load and score, through every import of ours, to no pickle and no torch.load."""
    waiting, reached, foreign = {"models.catalog"}, set(), set()
    while waiting:
        name = waiting.pop()
        reached.add(name)
        origin = importlib.util.find_spec(name).origin  # type: ignore[union-attr]
        assert origin is not None
        for other in _imported(Path(origin)):
            if other.split(".")[0] not in ("models", "nbest"):
                foreign.add(other)
            elif other not in reached and _is_module(other):
                waiting.add(other)
        source = Path(origin).read_text("utf-8")
        assert not re.search(
            r"torch\.(load|hub|jit)\b|allow_pickle=True|\beval\(|\bexec\(", source.replace(".eval()", "")
        )
    assert {
        "models.checkpoint",
        "models.tensor_file",
        "models.scoring.scorer",
        "nbest.strict_json",
    } <= reached
    harmful = (
        *("pickle", "cPickle", "dill", "joblib", "marshal", "shelve", "cloudpickle", "subprocess", "yaml"),
        *("torch.load", "torch.serialization", "torch.hub", "torch.jit"),
    )
    assert not [name for name in foreign if name in harmful or name.split(".")[0] in harmful]


def _is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False
