"""Around every answer, that to a fault too: the request's id, what a browser may do, a line in the log."""

import logging
from time import perf_counter
from urllib.parse import quote

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import on_fault
from service.logs import REQUEST_ID
from service.requests import request_id
from service.security import OPEN_BELOW
from service.telemetry import NO_ROUTE, Telemetry

log = logging.getLogger("nbest.access")

_NOT_ANSWERED = 499  # the connection ended before an answer began
_PROBES = ("/livez", "/readyz", "/metrics")  # asked every few seconds: at DEBUG

# The page loads nothing from anywhere else, and nothing may embed it or run in it.
_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
SECURITY = {  # on every answer
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": _PAGE_POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",  # for browsers that do not know frame-ancestors
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Headers:
    """ASGI middleware that adds headers, answers a fault (starlette would do so outside of it) and logs."""

    def __init__(self, app: ASGIApp, *, telemetry: Telemetry, access_log: bool = True) -> None:
        self._app = app
        self._telemetry = telemetry
        self._access_log = access_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on; its answer leaves with the headers added."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        identity = request_id(Request(scope))
        token = REQUEST_ID.set(identity)

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
                headers.update(SECURITY)
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
            seconds = perf_counter() - began
            state = scope["state"]
            if "hold" in state:
                state["hold"].release()
            self._telemetry.answered(
                _route(scope), scope["method"], status or _NOT_ANSWERED, seconds, state.get("cause")
            )
            if self._access_log:
                self._log(scope, status, seconds, identity)
            REQUEST_ID.reset(token)

    def _log(self, scope: Scope, status: int, seconds: float, identity: str) -> None:
        path = quote(scope["path"], errors="replace")  # as a caller may spell it, it could forge lines
        key = scope["state"].get("key")
        fields = {
            "method": scope["method"],
            "path": path,
            "route": _route(scope),
            "status": status,
            "seconds": round(seconds, 6),
            "cause": scope["state"].get("cause"),
            "key": None if key is None else key.name,
        }
        level = logging.DEBUG if path in _PROBES else logging.INFO
        said = {"fields": {name: value for name, value in fields.items() if value is not None}}
        log.log(level, "%s %s %d %.3fs %s", scope["method"], path, status, seconds, identity, extra=said)


def _route(scope: Scope) -> str:
    """The template that the path matched: there are only so many."""
    if scope["path"].startswith(OPEN_BELOW):
        return OPEN_BELOW
    return str(getattr(scope.get("route"), "path", NO_ROUTE))
