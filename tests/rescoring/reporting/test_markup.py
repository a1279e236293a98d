import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rescoring.reporting.markup import Markup, escaped, joined, tag


class Seen(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, list[tuple[str, str | None]]]] = []
        self.text = ""

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((name, attributes))

    def handle_data(self, data: str) -> None:
        self.text += data


@given(st.text(alphabet=st.characters(exclude_categories=[])))
def test_no_text_becomes_markup(text: str) -> None:
    seen = Seen()
    seen.feed(tag("p", text, title=text))
    seen.close()
    shown = re.sub("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]", "\ufffd", text)
    assert seen.tags == [("p", [("title", shown)])]
    assert seen.text == shown
    tag("p", text).encode()  # lone surrogates too


@pytest.mark.parametrize("text", ["</p><script>alert(1)</script>", "<!--", "]]>", '" onload="x', "&lt;b&gt;"])
def test_hostile_texts(text: str) -> None:
    seen = Seen()
    seen.feed(tag("p", text, aria_label=text))
    seen.close()
    assert (seen.tags, seen.text) == ([("p", [("aria-label", text)])], text)


def test_markup_stays_and_none_is_left_out() -> None:
    assert tag("a", Markup("<b>x</b>"), "<", class_="c", id=None) == '<a class="c"><b>x</b>&lt;</a>'
    assert joined("<", Markup("<br>"), between=" ") == "&lt; <br>"
    assert escaped("a\r\nb\tc") == "a\ufffd\nb\tc"
