from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbest.errors import FormatError, NonFiniteFeatureError
from rescoring.formats.kaldi_tables import entries, read_costs, read_int_vectors, read_symbols, read_texts

from .conftest import binary


def text(key: str, numbers: list[int]) -> bytes:
    return f"{key} {''.join(f'{number} ' for number in numbers)}\n".encode()


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return tmp_path / "table"


def test_texts(table: Path) -> None:
    table.write_bytes("a-1 he  said \na-2\na-3 \nb-c-1\tthe\u00a0first word\n".encode())
    assert read_texts(table) == [
        ("a-1", "he said"),
        ("a-2", ""),
        ("a-3", ""),
        ("b-c-1", "the\u00a0first word"),
    ]


def test_costs(table: Path) -> None:
    table.write_bytes(b"a-1 213.5957 \na-2\t-0\na-3  1e-05\r\n")
    keys, values = read_costs(table)
    assert keys == ["a-1", "a-2", "a-3"]
    assert values.tolist() == [213.5957, 0, 1e-05]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a-1 1\na-2\n", ":2: not a key and a number; expected 'key number'; got 'a-2'"),
        (b"a-1 1\na-2 1 2\n", ":2: not a key and a number; expected 'key number'; got 'a-2 1 2'"),
        (b"a-1 1\n\n", ":2: not a key and a number; expected 'key number'; got ''"),
        (b"a-1 1\na-2 x\n", ":2: the value in table is not a number; expected a number; got 'x'"),
        (b"a-1 1\na-2 \xff\n", ":2: invalid UTF-8; expected UTF-8 text; got byte 0xff at byte 5 of the line"),
        (b"a-1 \0B\4\0\0\x80\x3f", ": binary archive of numbers; expected a text archive (ark,t)"),
    ],
)
def test_broken_costs(table: Path, content: bytes, message: str) -> None:
    table.write_bytes(content)
    with pytest.raises(FormatError) as caught:
        read_costs(table)
    assert str(caught.value) == f"{table}{message}"


def test_costs_that_are_not_finite(table: Path) -> None:
    table.write_bytes(b"a-1 1\na-2 inf\n")
    with pytest.raises(NonFiniteFeatureError) as caught:
        read_costs(table)
    assert str(caught.value) == (
        f"{table}:2: the value in table is not finite; expected a finite number; got 'inf'"
    )


def test_a_text_without_a_key(table: Path) -> None:
    table.write_bytes(b"a-1 x\n\n")
    with pytest.raises(FormatError) as caught:
        read_texts(table)
    assert str(caught.value) == f"{table}:2: line without a key; expected 'key words'"


VECTORS = st.lists(
    st.tuples(
        st.text(alphabet="aä-1.", min_size=1, max_size=6),
        st.lists(st.integers(0, 2**31 - 1), max_size=5),
        st.booleans(),
    )
)


@given(VECTORS)
@settings(deadline=None)
def test_vectors_text_and_binary(vectors: list[tuple[str, list[int], bool]]) -> None:
    raw = [binary(key, ids) if packed else text(key, ids) for key, ids, packed in vectors]
    found = list(entries(b"".join(raw), "f"))
    assert [(key, whole) for key, _, whole in found] == [(v[0], r) for v, r in zip(vectors, raw, strict=True)]


@pytest.mark.parametrize("pack", [binary, text])
def test_vectors_from_a_file(table: Path, pack: type) -> None:
    # 10 is "\n" and 32 is a space: bytes that a line reader would stumble on
    table.write_bytes(pack("u-1-1", [10, 32, 2570]) + pack("u-1-2", []) + pack("u-1-3", [7]))
    assert read_int_vectors(table) == [("u-1-1", [10, 32, 2570]), ("u-1-2", []), ("u-1-3", [7])]


def test_a_text_vector_without_anything_after_its_key(table: Path) -> None:
    table.write_bytes(b"u-1\nu-2\t5 6\nu-3 7")
    assert read_int_vectors(table) == [("u-1", []), ("u-2", [5, 6]), ("u-3", [7])]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"u-1 \0B\4\2\0\0\0\4\1\0\0\0",
            ", byte 4: truncated binary vector; expected 2 integers; got 12 bytes",
        ),
        (b"u-1 \0BFM \4", ", byte 4: binary entry of an unknown kind; expected a vector of int32"),
        (
            b"u-1 \0B\4\xff\xff\xff\xff",
            ", byte 4: truncated binary vector; expected -1 integers; got 7 bytes",
        ),
        (b"u-1 \0B\4\1\0\0\0\5\1\0\0\0", ": u-1: corrupt binary vector; expected int32 values"),
        (b"u-1 5 x\n", ": u-1: not a vector of integers; expected 'key id id ...'; got '5 x\\n'"),
        (b" 5\n", ", byte 0: entry without a key; expected 'key value'"),
        (b"\xff 5\n", ", byte 0: the key is no UTF-8; expected a key"),
    ],
)
def test_broken_vectors(table: Path, content: bytes, message: str) -> None:
    table.write_bytes(content)
    with pytest.raises(FormatError) as caught:
        read_int_vectors(table)
    assert str(caught.value) == f"{table}{message}"


def test_symbols(table: Path) -> None:
    table.write_bytes("<eps> 0\nwörd\t7\n".encode())
    assert read_symbols(table) == {0: "<eps>", 7: "wörd"}
    table.write_bytes(b"<eps> 0\nword\n")
    with pytest.raises(FormatError) as caught:
        read_symbols(table)
    assert str(caught.value) == f"{table}:2: not a word and its id; expected 'word id'; got 'word'"
