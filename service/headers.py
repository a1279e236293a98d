"""Around every answer, that to a fault too: the request's id, what a browser may do, a line in the log."""

import logging
from time import perf_counter
from urllib.parse import quote

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import on_fault
from service.requests import request_id
from service.security import OPEN_BELOW

log = logging.getLogger("nbest.access")

_PROBES = ("/livez", "/readyz")  # asked every few seconds: at DEBUG

# The page loads nothing from anywhere else, and nothing may embed it or run in it.
_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class Headers:
    """ASGI middleware that adds headers, answers a fault (starlette would do so outside of it) and logs."""

    def __init__(self, app: ASGIApp, *, access_log: bool = True) -> None:
        self._app = app
        self._access_log = access_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on; its answer leaves with the headers added."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        identity = request_id(Request(scope))

        started = False
        status = 0
        began = perf_counter()

        async def send_with_headers(message: Message) -> None:
            nonlocal started, status
            if message["type"] == "http.response.start":
                started = True
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = identity
                headers["X-Content-Type-Options"] = "nosniff"
                headers["Content-Security-Policy"] = _PAGE_POLICY
                headers["Referrer-Policy"] = "no-referrer"
                headers["X-Frame-Options"] = "DENY"  # for browsers that do not know frame-ancestors
                headers["Cross-Origin-Opener-Policy"] = "same-origin"
                headers["Cross-Origin-Resource-Policy"] = "same-origin"
                if not scope["path"].startswith(OPEN_BELOW):
                    headers.setdefault("Cache-Control", "no-store")
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except Exception as error:
            answer = await on_fault(Request(scope), error)
            if started:
                raise  # too late for another answer: the server closes the connection
            await answer(scope, receive, send_with_headers)
        finally:
            if self._access_log:
                path = quote(scope["path"])  # as a caller may spell it, it could forge lines
                level = logging.DEBUG if path in _PROBES else logging.INFO
                seconds = perf_counter() - began
                log.log(level, "%s %s %d %.3fs %s", scope["method"], path, status, seconds, identity)
