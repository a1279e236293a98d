"""Signatures and digests."""

from pathlib import Path

import pytest

import nbest
from nbest.errors import NotFoundError
from nbest.signature import sha256_file, sha256_hex, signature

ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B.1


def test_parts_stand_in_the_order_given() -> None:
    parts = {"small": "sha256:ab12", "precision": "fp32", "n": 3}
    assert signature(parts) == f"nbest:{nbest.__version__}|small:sha256:ab12|precision:fp32|n:3"
    assert signature({}) == f"nbest:{nbest.__version__}"


@pytest.mark.parametrize("parts", [{"a|b": 1}, {"a": "x|y"}, {"a": "x\ny"}])
def test_a_separator_inside_a_field_is_refused(parts: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"no '\|'"):
        signature(parts)


def test_digests(tmp_path: Path) -> None:
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    assert sha256_hex(b"a", b"", b"bc") == ABC
    assert sha256_file(path) == ABC
    with pytest.raises(NotFoundError, match="none: no such file"):
        sha256_file(tmp_path / "none")
