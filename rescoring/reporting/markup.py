"""HTML that cannot be broken out of: what is not markup by its type is escaped."""

import html
import re

_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def escaped(text: str) -> Markup:
    """Any text as HTML that shows it; markup stays as it is, control characters become U+FFFD."""
    if isinstance(text, Markup):
        return text
    return Markup(html.escape(_UNPRINTABLE.sub("\ufffd", text)))


def tag(name: str, /, *children: str, **attributes: object) -> Markup:
    """An element; ``class_`` is class, ``aria_label`` aria-label; an attribute of None is left out."""
    shown = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escaped(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{shown}>{''.join(map(escaped, children))}</{name}>")


def joined(*parts: str, between: str = "\n") -> Markup:
    """Several pieces of markup as one; texts among them are escaped."""
    return Markup(between.join(map(escaped, parts)))
