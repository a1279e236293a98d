import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbest.errors import ConfigError
from nbest.signature import signature
from rescoring.text import DEFAULT_PIPELINE, PIPELINES, get_pipeline, squeeze, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("  ", []),
        (" a  b ", ["a", "b"]),
        ("10\u00a0000 x\u2028y\tz", ["10\u00a0000", "x\u2028y\tz"]),
    ],
)
def test_words_are_split_on_the_ascii_space(text: str, expected: list[str]) -> None:
    assert words(text) == expected
    assert squeeze(text) == " ".join(expected)


@given(st.text(alphabet="a \u00a0\t"))
@settings(deadline=None)
def test_squeezing_keeps_the_words(text: str) -> None:
    assert words(squeeze(text)) == words(text)
    assert squeeze(text) == " ".join(words(text))


def test_pipelines() -> None:
    assert list(PIPELINES) == ["raw", "lower.1"]
    assert get_pipeline(DEFAULT_PIPELINE)(["Ein  Hund", "Ä"]) == ["Ein  Hund", "Ä"]
    assert get_pipeline("lower.1")(["Ein  Hund", "Ä"]) == ["ein  hund", "ä"]
    assert get_pipeline("lower").name == "lower.1"
    assert signature({"text": get_pipeline("lower").name}).endswith("|text:lower.1")


@pytest.mark.parametrize("name", ["", "upper", "lower.2", "raw.1", ".1"])
def test_an_unknown_pipeline(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        get_pipeline(name)
    assert str(caught.value) == f"text: unknown text pipeline; expected one of raw, lower.1; got {name!r}"
