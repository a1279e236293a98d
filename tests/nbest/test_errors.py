"""The tree of errors: its docstring, its messages, its way through a pipe."""

import pickle
import re

import pytest

from nbest import errors
from nbest.errors import BusyError, FeatureError, FormatError, NbestError, NonFiniteFeatureError, shorten


def family(root: type[NbestError], depth: int = 0) -> list[tuple[int, str]]:
    """(depth, name) of a class and all below it, in order of definition."""
    return [(depth, root.__name__)] + [
        row
        for child in root.__subclasses__()
        if child.__module__ == errors.__name__
        for row in family(child, depth + 1)
    ]


def test_the_docstring_prints_the_tree() -> None:
    rows = re.findall(r"^    ([│├└─ ]*)([A-Z]\w+Error)\b", errors.__doc__ or "", re.MULTILINE)
    assert [(len(indent) // 4, name) for indent, name in rows] == family(NbestError)


def test_every_kind_has_a_slug_of_its_own() -> None:
    kinds = [getattr(errors, name) for _, name in family(NbestError)]
    slugs = [kind.slug for kind in kinds]
    assert len(set(slugs)) == len(slugs)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", slug) for slug in slugs)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (FormatError("bad"), "bad"),
        (FormatError("bad", where="f:3"), "f:3: bad"),
        (FormatError("bad", where="f:3", expected="2", got="1"), "f:3: bad; expected 2; got 1"),
        (FormatError("bad", got=""), "bad; got "),
        (BusyError("queue full", retry_after_seconds=1.5), "queue full"),
    ],
)
def test_messages_say_where_what_was_expected_and_what_came(error: NbestError, text: str) -> None:
    assert str(error) == text


@pytest.mark.parametrize(
    "error",
    [
        NonFiniteFeatureError("bad", where="f:3", expected="2", got="1"),
        BusyError("queue full", retry_after_seconds=1.5),
    ],
)
def test_errors_cross_between_processes(error: NbestError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)


def test_a_kind_is_caught_by_its_parent() -> None:
    with pytest.raises(FeatureError):
        raise NonFiniteFeatureError("nan")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("grün", "'grün'"),
        ("a\u2028b\xa0ä", r"'a\u2028b\xa0ä'"),
        ("x" * 80, repr("x" * 80)),
        ("x" * 81, "'" + "x" * 80 + "… (81 characters)"),
    ],
)
def test_text_in_messages_is_short_and_printable(text: str, shown: str) -> None:
    assert shorten(text) == shown
