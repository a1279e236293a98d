"""Who may ask what: every path needs a key but those that say the service is alive and those of the page."""

import logging
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, Request, Security
from fastapi.openapi.models import HTTPBearer
from fastapi.security.base import SecurityBase
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as Connection

from nbest.errors import ConfigError, InputError
from service.errors import ForbiddenError, KeysFileError, UnauthorizedError, on_nbest_error
from service.keys import Key, Scope, find, read_keys
from service.scoring.queue import CALLER
from service.settings import Settings

log = logging.getLogger("nbest.service")

OPEN = frozenset({"/livez", "/readyz", "/", "/docs"})
OPEN_BELOW = "/web/"
SCHEME = "key"  # in /openapi.json
BEARER = {"type": "http", "scheme": "bearer", "description": "a key of `nbest keys create`, with its scopes"}
_CHANGING = ("tune", "admin")


class KeyFile:
    """The keys of a file, read again when it changes; raises ConfigError, NotFoundError at the start."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp = _stamp(path)
        self._keys = read_keys(path)
        if not self._keys:
            log.warning("%s holds no key: nobody can use the service", path)

    def keys(self) -> tuple[Key, ...]:
        """Those of now; raises KeysFileError where the file cannot be read any more: then nobody may in."""
        try:
            stamp = _stamp(self._path)
            if stamp != self._stamp:
                self._keys, self._stamp = read_keys(self._path), stamp
        except (OSError, InputError) as error:
            self._stamp = (0, 0, 0)
            log.error("the keys cannot be read: %s", error)
            raise KeysFileError("the service's keys cannot be read; its log has the details") from None
        return self._keys


class Keys:
    """ASGI middleware: without a key of the file there is only what is open. No file: everything is."""

    def __init__(self, app: ASGIApp, *, file: KeyFile | None) -> None:
        self._app = app
        self._file = file

    async def __call__(self, scope: Connection, receive: Receive, send: Send) -> None:
        """Passes the request on, its key in the state; or answers 401."""
        if scope["type"] == "http":
            state = scope.setdefault("state", {})
            state["keys"], state["key"] = self._file is not None, None
            if self._file is not None and not is_open(scope["path"]):
                request = Request(scope)
                try:
                    key = authenticate(request.headers.getlist("authorization"), self._file.keys())
                    state["key"] = key
                    CALLER.set(key.name)
                except (UnauthorizedError, KeysFileError) as error:
                    answer = await on_nbest_error(request, error)
                    await answer(scope, receive, send)
                    return
        await self._app(scope, receive, send)


def is_open(path: str) -> bool:
    """Whether a path needs no key."""
    return path in OPEN or path.startswith(OPEN_BELOW)


def authenticate(headers: list[str], keys: tuple[Key, ...]) -> Key:
    """The key of a request by its Authorization headers, which UnauthorizedError never quotes."""
    if not headers:
        raise UnauthorizedError("the service needs a key", expected="Authorization: Bearer KEY", got="none")
    kind, _, text = headers[0].partition(" ")
    found = find(text.strip(" "), keys) if len(headers) == 1 and kind.lower() == "bearer" else None
    if found is None:
        raise UnauthorizedError("not a key of this service", error="invalid_token")
    return found


class _Described(SecurityBase):
    """By which a route's scope gets into /openapi.json; whether a key came was settled by `Keys`."""

    scheme_name = SCHEME
    model = HTTPBearer()

    async def __call__(self) -> None:
        """Nothing is left to do."""


described = _Described()  # the dependency that puts keys into the API's description


def needs(scope: Scope) -> Any:
    """The dependency of a route whose callers must have `scope`.

    Without keys, what changes the service is refused to web pages: any page that the operator's browser
    shows could otherwise ask for it on the loopback address.
    """

    async def check(request: Request, _: Annotated[None, Security(described, scopes=[scope])]) -> None:
        key: Key | None = request.state.key
        if request.state.keys and (key is None or scope not in key.scopes):
            raise ForbiddenError("the key's scopes do not allow this", scope=scope)
        if not request.state.keys and scope in _CHANGING and "origin" in request.headers:
            raise ForbiddenError("web pages change nothing in a service without keys", scope=scope)

    check.scope = scope  # type: ignore[attr-defined] # so that a test can tell
    return Depends(check)


def check_reach(settings: Settings, address: str) -> None:
    """Raises ConfigError for a service without keys that others can reach, unless that was asked for by name.

    address  the one it listens on
    """
    if settings.keys is not None:
        if settings.no_keys:
            raise ConfigError("keys, and none", where="NBEST_NO_KEYS", expected="--keys FILE or --no-keys")
        return
    reached = settings.published or address
    if not settings.no_keys and not is_loopback(reached):
        raise ConfigError(
            f"others reach {reached}, and the service has no keys",
            where="NBEST_KEYS",
            expected="--keys FILE (see nbest keys create), or --no-keys behind something that has a log-in",
        )


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches an address; a name other than localhost may be anything."""
    try:
        return address == "localhost" or ip_address(address).is_loopback
    except ValueError:
        return False


def _stamp(path: Path) -> tuple[int, int, int]:
    try:
        state = path.stat()
    except FileNotFoundError:
        return (-1, -1, -1)
    return (state.st_ino, state.st_size, state.st_mtime_ns)
