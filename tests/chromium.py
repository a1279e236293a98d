"""A real Chromium that tests drive as a person would: keys, a pointer, a window of some width, dark or light.

It speaks the DevTools protocol over two pipes, JSON that ends in a NUL byte, so nothing has to be installed
but the browser.
"""

import base64
import itertools
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from tests.browser import CHROMIUM, QUIET

PATIENCE = 30.0  # seconds, for whatever is waited for
_KEYS = {  # name: code, number of the key, what it types
    "Tab": ("Tab", 9, ""),
    "Enter": ("Enter", 13, "\r"),
    "Escape": ("Escape", 27, ""),
    " ": ("Space", 32, " "),
    "End": ("End", 35, ""),
    "Home": ("Home", 36, ""),
    "ArrowLeft": ("ArrowLeft", 37, ""),
    "ArrowUp": ("ArrowUp", 38, ""),
    "ArrowRight": ("ArrowRight", 39, ""),
    "ArrowDown": ("ArrowDown", 40, ""),
}


class Chromium:
    """A browser process; a context manager. Skips the test where there is no Chromium."""

    def __init__(self, folder: Path) -> None:
        program = next(filter(None, map(shutil.which, CHROMIUM)), None)
        if program is None:
            pytest.skip("no chromium on this machine")
        reads, self._to = os.pipe()  # the browser's descriptors 3 and 4
        self._from, writes = os.pipe()
        options = ["--headless", "--no-sandbox", *QUIET, "--remote-debugging-pipe", "--hide-scrollbars"]
        command = f'exec 3<&{reads} 4>&{writes}; exec "$0" "$@"'
        self._process = subprocess.Popen(
            ["/bin/bash", "-c", command, program, *options, f"--user-data-dir={folder}", "about:blank"],
            pass_fds=(reads, writes),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(reads)
        os.close(writes)
        self._numbers = itertools.count(1)
        self._rest = b""
        self.events: list[dict[str, Any]] = []

    def __enter__(self) -> "Chromium":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError, AssertionError):
            self.call("Browser.close")
        os.close(self._to)
        os.close(self._from)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def call(self, method: str, session: str | None = None, **parameters: Any) -> Any:
        """The answer to a command of the protocol; events that come meanwhile are kept."""
        number = next(self._numbers)
        content: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if session is not None:
            content["sessionId"] = session
        os.write(self._to, json.dumps(content).encode() + b"\0")
        while True:
            found = self._next(PATIENCE)
            assert found is not None, f"no answer to {method}"
            if found.get("id") == number:
                assert "error" not in found, (method, found["error"])
                return found["result"]

    def listen(self, seconds: float) -> None:
        """Takes the events of so long."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._next(left)

    def _next(self, seconds: float) -> dict[str, Any] | None:
        """The next message; None where none comes."""
        while b"\0" not in self._rest:
            if not select.select([self._from], [], [], seconds)[0]:
                return None
            more = os.read(self._from, 1 << 20)
            assert more, "the browser has gone"
            self._rest += more
        first, _, self._rest = self._rest.partition(b"\0")
        found: dict[str, Any] = json.loads(first)
        if "method" in found:
            self.events.append(found)
        return found

    @contextmanager
    def page(self, url: str, *, width: int = 1280, height: int = 900, dark: bool = False) -> Iterator["Page"]:
        """A page in a fresh tab, with a storage of its own; faults it had are errors at the end."""
        context = self.call("Target.createBrowserContext")["browserContextId"]
        target = self.call("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.events.clear()
        page = Page(self, session, url)
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable", session)
        self.call(
            "Emulation.setDeviceMetricsOverride",
            session, width=width, height=height, deviceScaleFactor=1, mobile=False,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        calm = {"name": "prefers-reduced-motion", "value": "reduce"}
        self.call("Emulation.setEmulatedMedia", session, features=[scheme, calm])
        self.call("Page.navigate", session, url=url)
        page.wait("document.readyState === 'complete'")
        yield page
        self.listen(0.05)
        self.call("Target.disposeBrowserContext", browserContextId=context)


class Page:
    """One page."""

    def __init__(self, browser: Chromium, session: str, url: str) -> None:
        self._browser = browser
        self._session = session
        self._origin = "/".join(url.split("/")[:3]) + "/"

    def call(self, method: str, **parameters: Any) -> Any:
        """A command of the protocol."""
        return self._browser.call(method, self._session, **parameters)

    def run(self, script: str) -> Any:
        """The value of an expression in the page; a promise is waited for."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, (script, found["exceptionDetails"])
        return found["result"].get("value")

    def wait(self, script: str) -> None:
        """Until the expression is true."""
        until = time.monotonic() + PATIENCE
        while not self.run(f"Boolean({script})"):
            assert time.monotonic() < until, f"never true: {script}\n{self.text('body')[:3000]}"
            self._browser.listen(0.03)

    def text(self, selector: str) -> str:
        """What a person reads there; nothing where it is not."""
        return str(self.run(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''"))

    def shown(self, selector: str) -> bool:
        """Whether there is such an element and it takes room."""
        return bool(self.run(f"document.querySelector({json.dumps(selector)})?.checkVisibility() ?? false"))

    def fill(self, selector: str, value: str) -> None:
        """Puts a value into a field, as a paste does."""
        self.run(
            f"(() => {{ const one = document.querySelector({json.dumps(selector)});"
            f"one.value = {json.dumps(value)};"
            "for (const kind of ['input', 'change'])"
            " one.dispatchEvent(new Event(kind, {bubbles: true})); })()"
        )

    def click(self, selector: str) -> None:
        """With the pointer, in the middle of what is seen of it."""
        self.run(f"document.querySelector({json.dumps(selector)}).scrollIntoView({{block: 'center'}})")
        box = self.run(
            f"(() => {{ const {{x, y, width, height}} = document.querySelector({json.dumps(selector)})"
            ".getBoundingClientRect(); return [x + width / 2, y + height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=box[0], y=box[1], button="left", clickCount=1)

    def press(self, key: str, times: int = 1, *, shift: bool = False) -> None:
        """A key of the keyboard."""
        code, number, text = _KEYS[key]
        about = {"key": key, "code": code, "windowsVirtualKeyCode": number, "modifiers": 8 * shift}
        for _ in range(times):
            self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **about)
            self.call("Input.dispatchKeyEvent", type="keyUp", **about)

    def type(self, text: str) -> None:
        """Text into whatever has the focus."""
        self.call("Input.insertText", text=text)

    def focused(self) -> str:
        """The id of what has the focus, else its tag."""
        return str(self.run("document.activeElement.id || document.activeElement.tagName"))

    def tab_to(self, identity: str) -> list[str]:
        """Tab until that element has the focus; where the focus was on the way."""
        seen: list[str] = []
        while (here := self.focused()) != identity:
            seen.append(here)
            assert len(seen) < 300, f"{identity} is not reached: {seen}"
            self.press("Tab")
        return seen

    def picture(self, path: Path, *, whole: bool = True) -> None:
        """A screenshot."""
        found = self.call("Page.captureScreenshot", captureBeyondViewport=whole, **self._clip(whole))
        path.write_bytes(base64.b64decode(found["data"]))

    def _clip(self, whole: bool) -> dict[str, Any]:
        if not whole:
            return {}
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        return {"clip": {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}}

    def outside(self) -> list[str]:
        """Elements that reach beyond the window's edge, but for those in a scroller of their own."""
        found: list[str] = self.run(
            "[...document.querySelectorAll('body *')]"
            ".filter((one) => !one.closest('.wide, .unseen, textarea'))"
            ".filter((one) => one.getBoundingClientRect().right > document.documentElement.clientWidth + 1)"
            ".map((one) => one.outerHTML.slice(0, 120))"
        )
        return found

    def faults(self) -> list[str]:
        """Errors and warnings of the console, scripts that failed, requests to anywhere else."""
        found = []
        for event in self._browser.events:
            if event.get("sessionId") != self._session:
                continue
            what, content = event["method"], event["params"]
            if what == "Runtime.exceptionThrown":
                found.append(json.dumps(content["exceptionDetails"])[:500])
            elif what == "Runtime.consoleAPICalled" and content["type"] in ("error", "warning", "assert"):
                found.append(json.dumps(content["args"])[:500])
            elif what == "Log.entryAdded" and content["entry"]["level"] in ("error", "warning"):
                found.append(f"{content['entry']['text']} {content['entry'].get('url', '')}")
            elif what == "Network.requestWillBeSent":
                url = content["request"]["url"]
                if not url.startswith((self._origin, "blob:", "data:")):
                    found.append(f"asked {url}")
        return found
