"""A page in a real browser: how wide it is, what it asks for, what its scripts would have done."""

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
QUIET = ("--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")
QUIET += ("--disable-component-update", "--disable-sync", "--disable-default-apps", "--disable-extensions")
MEASURE = """
<script>
addEventListener("load", () => {
  const root = document.documentElement;
  const wide = [...document.querySelectorAll("body *")].filter((one) => !one.closest(".wide, svg"));
  const found = {
    width: root.clientWidth, scroll: root.scrollWidth,
    outside: wide.filter((one) => one.getBoundingClientRect().right > root.clientWidth + 1)
      .map((one) => one.outerHTML.slice(0, 80)),
    dark: matchMedia("(prefers-color-scheme: dark)").matches,
    background: getComputedStyle(document.body).backgroundColor,
    ink: getComputedStyle(document.body).color,
    plots: [...document.querySelectorAll("svg[role=img]")].map((one) => one.getBoundingClientRect().width),
    scripts: document.scripts.length, images: document.images.length,
    broken: window.broken === true,
  };
  parent.postMessage(JSON.stringify(found), "*");
});
</script>
"""
FRAME = """<!doctype html><body style="margin:0">
<iframe src="{name}" style="width:{width}px;height:900px;border:0"></iframe>
<pre id="found"></pre><script>
addEventListener("message", (event) => {{ document.getElementById("found").textContent = event.data; }});
</script>"""


@dataclass(frozen=True)
class Seen:
    """What the browser made of a page.

    width, scroll  of the window, and of what is in it
    outside        elements beyond the window's edge
    plots          widths of the plots
    scripts        elements, without ours
    broken         whether anything in the page ran
    """

    width: int
    scroll: int
    outside: list[str]
    dark: bool
    background: str
    ink: str
    plots: list[float]
    scripts: int
    images: int
    broken: bool


def see(page: Path, folder: Path, width: int, *, dark: bool = False) -> Seen:
    """The page in a window of that width; skips where there is no Chromium.

    A copy is looked at, without its policy and with a script that measures: with the policy nothing runs at
    all, so this is the harder case.
    """
    chromium = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if chromium is None:
        pytest.skip("no chromium on this machine")
    text = page.read_text(encoding="utf-8")
    free = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)
    assert free != text
    (folder / "copy.html").write_text(free.replace("</head>", f"{MEASURE}</head>"), encoding="utf-8")
    frame = folder / "frame.html"
    frame.write_text(FRAME.format(name="copy.html", width=width), encoding="utf-8")
    options = ["--headless", "--no-sandbox", *QUIET, f"--user-data-dir={folder / 'profile'}"]
    options += (
        ["--blink-settings=preferredColorScheme=0"] if dark else ["--blink-settings=preferredColorScheme=1"]
    )
    done = subprocess.run(
        [chromium, *options, "--virtual-time-budget=5000", "--dump-dom", frame.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    found = re.search(r'<pre id="found">(\{.*?\})</pre>', done.stdout, re.DOTALL)
    assert found, done.stdout[-2000:]
    values = json.loads(found[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    values["scripts"] -= 1
    return Seen(**values)
