"""API keys: 256 random bits each, with a name and scopes; their file keeps hashes alone.

    {"format": "nbest-keys/1", "keys": [
      {"name": "decoder", "scopes": ["score"], "sha256": "9f86...", "created": "2026-11-22T12:00:00Z"}]}

The hash is a plain sha256: slow hashes are for words that people choose and others can guess, and nobody
guesses 256 random bits. So the file is no secret, but whoever can write it can let themselves in.
"""

import hmac
import json
import re
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, cast, get_args

from nbest.errors import ConfigError, InputError, NotFoundError, shorten
from nbest.files import write_whole
from nbest.signature import sha256_hex
from nbest.strict_json import StrictJson

Scope = Literal["score", "tune", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
FORMAT = "nbest-keys/1"
PREFIX = "nbest-"  # by which a key that got into a log or a repository is found
MOST_KEYS = 1000  # each is compared for each request: some 0.2 ms
_BYTES = 32
_SECRET = re.compile(re.escape(PREFIX) + r"[A-Za-z0-9_-]{43}")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MOST_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Key:
    """What is known of a key that was given out.

    sha256   of its text
    created  RFC 3339, UTC
    """

    name: str
    scopes: tuple[Scope, ...]
    sha256: str
    created: str


def new_key(name: str, scopes: Sequence[Scope], now: datetime) -> tuple[str, Key]:
    """A fresh key's text, which is nowhere else from now on, and what is kept of it; raises ConfigError."""
    if not _NAME.fullmatch(name):
        expected = "letters, digits, '_', '-' and '.', 64 at most, the first no sign"
        raise ConfigError("not a name for a key", expected=expected, got=shorten(name))
    text = PREFIX + secrets.token_urlsafe(_BYTES)
    created = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    ordered = tuple(scope for scope in SCOPES if scope in scopes)
    return text, Key(name, ordered, sha256_hex(text.encode()), created)


def find(text: str, keys: Sequence[Key]) -> Key | None:
    """The key whose text this is. How long it takes tells nothing: all hashes are compared, to their ends."""
    if not _SECRET.fullmatch(text):
        return None
    digest = sha256_hex(text.encode())
    found = None
    for key in keys:
        if hmac.compare_digest(key.sha256, digest):
            found = key
    return found


def hide(text: str) -> str:
    """`text` without what may be a key in it, known here or not: of that its prefix is left."""
    return _SECRET.sub(f"{PREFIX}...", text)


def read_keys(path: Path) -> tuple[Key, ...]:
    """The keys of a file; raises ConfigError naming the place, NotFoundError."""
    try:
        with path.open("rb") as stream:
            content = stream.read(_MOST_BYTES + 1)
    except FileNotFoundError:
        raise NotFoundError("no such file", where=str(path)) from None
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(path)) from None
    if len(content) > _MOST_BYTES:
        raise ConfigError("not a file of keys", where=str(path), expected=f"at most {_MOST_BYTES} bytes")
    return parse_keys(content, str(path))


def parse_keys(content: bytes, where: str) -> tuple[Key, ...]:
    """As `read_keys`, from a file's content."""
    read = StrictJson(where, ConfigError)
    top = read.mapping(read.parse(content), "", {"format", "keys"})
    if top["format"] != FORMAT:
        raise read.wrong("/format", "not a file of keys that is known here", FORMAT, top["format"])
    entries = read.sequence(top["keys"], "/keys")
    if len(entries) > MOST_KEYS:
        raise read.wrong("/keys", "too many keys", f"at most {MOST_KEYS}", str(len(entries)))
    keys = []
    for k, entry in enumerate(entries):
        at = f"/keys/{k}"
        block = read.mapping(entry, at, {"name", "scopes", "sha256", "created"})
        texts = {name: read.string(block[name], f"{at}/{name}") for name in ("name", "sha256", "created")}
        if not _SHA256.fullmatch(texts["sha256"]):
            raise read.wrong(f"{at}/sha256", "not a sha256", "64 hexadecimal digits", texts["sha256"])
        scopes = [read.string(one, f"{at}/scopes") for one in read.sequence(block["scopes"], f"{at}/scopes")]
        for scope in scopes:
            if scope not in SCOPES:
                raise read.wrong(f"{at}/scopes", "no such scope", f"one of {', '.join(SCOPES)}", scope)
        keys.append(Key(scopes=tuple(cast(list[Scope], scopes)), **texts))
    names = [key.name for key in keys]
    if len(set(names)) != len(names):
        raise read.wrong("/keys", "a name stands twice", "each name once", ", ".join(sorted(names)))
    return tuple(keys)


def dump_keys(keys: Sequence[Key]) -> str:
    """The text of the keys' file; `parse_keys` gives them back."""
    return json.dumps({"format": FORMAT, "keys": [asdict(key) for key in keys]}, indent=1) + "\n"


def write_keys(keys: Sequence[Key], path: Path) -> None:
    """Writes the file whole or not at all; running services take it up at their next request."""
    with write_whole(path) as stream:
        stream.write(dump_keys(keys).encode())
