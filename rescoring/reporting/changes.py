"""The segments that changed most, word by word: what was wrong before, and what is wrong now."""

from collections.abc import Sequence
from dataclasses import dataclass

from rescoring.alignment import Alignment, align, errors
from rescoring.reporting.markup import Markup, joined, tag
from rescoring.reporting.page import section
from rescoring.segment_changes import Extremes

MOST = 10  # segments of each kind
NOTE = (
    "Words that are wrong or too many are underlined, missing words struck through, against the nearest "
    "reference. The figure is what the first system's corpus score would gain from this segment alone."
)


@dataclass(frozen=True)
class Texts:
    """Two outputs of the same S segments, as they are compared; `names` are how the page calls them."""

    ids: Sequence[str]
    references: Sequence[Sequence[str]]
    outputs: tuple[Sequence[str], Sequence[str]]
    names: tuple[str, str]


def changed_segments(texts: Texts, changes: Extremes, unit: str) -> Markup:
    """The most improved and the most harmed segments; `unit` is what gains are counted in."""
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
                joined(*(_segment(texts, place, float(changes.gains[place]), unit) for place in places)),
                class_="changes",
            )
            if places
            else tag("p", "None.", class_="soft"),
        )
        for title, places in lists
    ]
    return section("Segments that changed most", tag("div", *columns, class_="columns"), note=NOTE)


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


def _segment(texts: Texts, place: int, gain: float, unit: str) -> Markup:
    rows = [("reference", tag("span", one)) for one in texts.references[place]]
    rows += [
        (name, marked(nearest(output[place], texts.references[place])))
        for name, output in zip(texts.names, texts.outputs, strict=True)
    ]
    heading = tag(
        "h3",
        tag("span", str(texts.ids[place]), dir="auto"),
        tag("span", f"{gain:+.3f} {unit}", class_=f"gain {'up' if gain > 0 else 'down'}"),
    )
    lines = joined(*(joined(tag("dt", name), tag("dd", text, dir="auto")) for name, text in rows))
    return tag("li", heading, tag("dl", lines, class_="texts"))
