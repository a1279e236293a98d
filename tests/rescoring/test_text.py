import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbest.errors import ConfigError
from nbest.signature import signature
from rescoring.text import DEFAULT_PIPELINE, STEPS, get_pipeline, squeeze, words


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
    assert get_pipeline(DEFAULT_PIPELINE)(["Ein  Hund", "Ä"]) == ["Ein  Hund", "Ä"]
    assert get_pipeline("lower.1")(["Ein  Hund", "Ä"]) == ["ein  hund", "ä"]
    assert get_pipeline("lower").name == "lower.1"
    assert signature({"text": get_pipeline("lower").name}).endswith("|text:lower.1")


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("tags", "<s> a [noise] b!SIL !SIL <unk> </s> -pau- <x y> [", "a b!SIL <unk> <x y> ["),
        ("tags", "<laughter> ", ""),
        ("hesitations", "Uh i UM think  so er %hesitation umbrella", "i think so umbrella"),
        ("bpe", "ho@@ use of the an@@ t@@ s", "house of the ants"),
        ("bpe", "end@@", "end"),
        ("sentencepiece", "▁he llo ▁world", "hello world"),
        ("factors", "a|DT man|NN | runs|VB|x", "a man | runs"),
        ("factors-plus", "a++DT b+c++x", "a b+c"),
        ("unescape", "it &apos;s &lt;b&gt; &#124; &amp;lt; &quot;", "it 's <b> | &lt; \""),
        (
            "detokenize",
            "hello , world ! it &apos;s ( really ) 5 % off .",
            "hello, world! it's (really) 5% off.",
        ),
        ("detokenize", 'he said : " i do n\'t know " .', 'he said: "i don\'t know".'),
        (
            "detokenize",
            "a well @-@ known $ 5 bill , the dogs ' house",
            "a well-known $5 bill, the dogs' house",
        ),
        ("detokenize", "", ""),
    ],
)
def test_what_each_step_does(name: str, text: str, expected: str) -> None:
    assert get_pipeline(name)([text]) == [expected]
    assert get_pipeline(f"{name}.1").name == f"{name}.1"


def test_steps_from_left_to_right() -> None:
    several = get_pipeline("bpe, tags,lower.1")
    assert several.name == "bpe.1,tags.1,lower.1"
    assert several(["<S> Ho@@ USE <n@@ oise>"]) == ["house"]
    assert signature({"text": several.name}).endswith("|text:bpe.1,tags.1,lower.1")
    assert set(STEPS) == {"raw"} | {
        f"{name}.1"
        for name in (
            "lower tags hesitations bpe sentencepiece factors factors-plus unescape detokenize".split(" ")
        )
    }


@pytest.mark.parametrize("name", ["", "upper", "lower.2", "raw.1", ".1", "lower,", "raw,lower", "lower+tags"])
def test_an_unknown_pipeline(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        get_pipeline(name)
    assert str(caught.value) == (
        f"text: unknown text pipeline; expected one of {', '.join(STEPS)}, or several with commas between"
        f" them; got {name!r}"
    )
