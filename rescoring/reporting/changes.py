"""The segments that changed most, word by word: what was wrong before, and what is wrong now."""

from collections.abc import Sequence
from dataclasses import dataclass

from rescoring.alignment import Alignment, align, errors
from rescoring.reporting.markup import Markup, joined, tag
from rescoring.reporting.page import section
from rescoring.segment_changes import Extremes

MOST = 10  # segments of each kind


@dataclass(frozen=True)
class Texts:
    """Two outputs of the same S segments, as they are compared; `names` are how the page calls them."""

    ids: Sequence[str]
    references: Sequence[Sequence[str]]
    outputs: tuple[Sequence[str], Sequence[str]]
    names: tuple[str, str]


def changed_segments(texts: Texts, changes: Extremes) -> Markup:
    """The most improved and the most harmed segments."""
    gained, lost = int((changes.gains > 0).sum()), int((changes.gains < 0).sum())
    lists = [
        (f"Most improved of {gained}", changes.improved.tolist()),
        (f"Most harmed of {lost}", changes.harmed.tolist()),
    ]
    columns = [
        tag(
            "div",
            tag("h3", title),
            tag(
                "ol",
                joined(*(_segment(texts, place, float(changes.gains[place])) for place in places)),
                class_="changes",
            )
            if places
            else tag("p", "None.", class_="soft"),
        )
        for title, places in lists
    ]
    note = (
        "Words that are wrong or too many are underlined, missing words struck through, against the nearest "
        f"reference. The points are what the corpus score of “{texts.names[0]}” would gain, or lose, if it "
        "took this segment alone from the other: a gain is always for the better."
    )
    return section("Segments that changed most", tag("div", *columns, class_="columns"), note=note)


def marked(alignment: Alignment) -> Markup:
    """A hypothesis with its errors marked, as words in a line."""
    if not alignment:
        return tag("span", "(empty)", class_="empty")
    words = []
    for edit in alignment:
        if edit.hypothesis is None:
            words.append(tag("del", edit.reference or ""))
        elif edit.kind == "equal":
            words.append(tag("span", edit.hypothesis))
        else:
            words.append(tag("mark", edit.hypothesis))
    return joined(*words, between=" ")


def nearest(hypothesis: str, references: Sequence[str]) -> Alignment:
    """The alignment with the reference that takes the fewest edits; of equals the first."""
    return min(align([hypothesis] * len(references), references), key=errors)


def _segment(texts: Texts, place: int, gain: float) -> Markup:
    rows = [("reference", tag("span", one)) for one in texts.references[place]]
    rows += [
        (name, marked(nearest(output[place], texts.references[place])))
        for name, output in zip(texts.names, texts.outputs, strict=True)
    ]
    heading = tag(
        "h3",
        tag("span", f"segment {texts.ids[place]}", dir="auto"),
        tag("span", f"{gain:+.3f} points", class_=f"gain {'up' if gain > 0 else 'down'}"),
    )
    lines = joined(*(joined(tag("dt", name), tag("dd", text, dir="auto")) for name, text in rows))
    return tag("li", heading, tag("dl", lines, class_="texts"))
