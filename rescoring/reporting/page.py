"""The page around the sections: style within, nothing asked of anybody."""

from collections.abc import Container, Sequence
from pathlib import Path

from nbest import __version__
from rescoring.reporting.markup import Markup, joined, tag

STYLE = Path(__file__).with_name("style.css")
POLICY = "default-src 'none'; style-src 'unsafe-inline'"  # no script runs, nothing is fetched


def page(title: str, subtitle: str, sections: Sequence[str], signature: str) -> str:
    """A whole HTML document of these sections."""
    style = STYLE.read_text(encoding="utf-8")
    head = joined(
        Markup('<meta charset="utf-8">'),
        Markup('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'),
        Markup('<meta name="color-scheme" content="light dark">'),
        tag("title", f"{title} - nbest"),
        tag("style", Markup(style)),
    )
    body = joined(
        tag("header", tag("h1", title), tag("p", subtitle, class_="soft", dir="auto"), class_="top"),
        tag("main", joined(*sections)),
        tag(
            "footer",
            tag("h2", "Signature"),
            tag("p", tag("code", signature)),
            tag("p", f"Made by nbest {__version__}.", class_="soft"),
        ),
    )
    return f'<!doctype html>\n<html lang="en">\n{tag("head", head)}\n{tag("body", body)}\n</html>\n'


def section(title: str, *content: str, note: str | None = None) -> Markup:
    """A titled part of the page; `note` says how to read it."""
    said = [] if note is None else [tag("p", note, class_="soft")]
    return tag("section", joined(tag("h2", title), *said, *content), class_="card")


def table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    caption: str | None = None,
    words: Container[int] = (),
) -> Markup:
    """Rows of cells, the first of each its heading; `words` are columns that hold no numbers.

    Wide tables scroll on their own.
    """
    styles = ["words" if column in words else None for column in range(len(header))]
    titles = (tag("th", cell, scope="col", class_=style) for cell, style in zip(header, styles, strict=True))
    head = tag("tr", *titles)
    body = [
        tag(
            "tr",
            tag("th", row[0], scope="row", dir="auto"),
            *(
                tag("td", cell, class_=style, dir="auto" if style else None)
                for cell, style in zip(row[1:], styles[1:], strict=True)
            ),
        )
        for row in rows
    ]
    said = [] if caption is None else [tag("caption", caption)]
    inner = joined(*said, tag("thead", head), tag("tbody", joined(*body)))
    label = caption or header[0] or "table"
    return tag("div", tag("table", inner), class_="wide", tabindex="0", role="region", aria_label=label)


def tiles(*items: tuple[str, str, str]) -> Markup:
    """Figures that matter most: (name, value, what belongs to it)."""
    return tag(
        "dl",
        joined(
            *(
                tag("div", tag("dt", name), tag("dd", value, class_="value"), tag("dd", more, class_="soft"))
                for name, value, more in items
            )
        ),
        class_="tiles",
    )
