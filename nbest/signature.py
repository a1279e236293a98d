"""What produced a number, in one line: ``nbest:0.1.0|small:sha256:ab12cd34|precision:fp32``."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from nbest import __version__
from nbest.errors import NotFoundError


def signature(parts: Mapping[str, object]) -> str:
    """``nbest:VERSION|key:value|...`` in the order given; keys and values carry no ``|``."""
    fields = [f"nbest:{__version__}"]
    for key, value in parts.items():
        text = f"{key}:{value}"
        if "|" in text or "\n" in text:
            raise ValueError(f"a signature field holds no '|' and no newline: {text!r}")
        fields.append(text)
    return "|".join(fields)


def precision_of(digests: Iterable[str]) -> str:
    """How scores of models with these digests were computed: what is not exact is bound in its digest."""
    return "int8" if any(digest.endswith("+int8") for digest in digests) else "fp32"


def sha256_hex(*chunks: bytes) -> str:
    """Hexadecimal sha256 of the chunks one after the other."""
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()


def sha256_file(path: Path) -> str:
    """Hexadecimal sha256 of a file's bytes as they stand on disk; raises NotFoundError."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except FileNotFoundError:
        raise NotFoundError("no such file", where=str(path)) from None
