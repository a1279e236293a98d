"""Headers of every answer, that to a fault too: the request's id, and what a browser may do with the page."""

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import on_fault
from service.requests import request_id

# The page loads nothing from anywhere else, and nothing may embed it or run in it.
_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class Headers:
    """ASGI middleware that adds headers, and answers a fault: starlette would do so outside of it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on; its answer leaves with the headers added."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        identity = request_id(Request(scope))

        started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = identity
                headers["X-Content-Type-Options"] = "nosniff"
                headers["Content-Security-Policy"] = _PAGE_POLICY
                headers["Referrer-Policy"] = "no-referrer"
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except Exception as error:
            answer = await on_fault(Request(scope), error)
            if started:
                raise  # too late for another answer: the server closes the connection
            await answer(scope, receive, send_with_headers)
