"""Named text pipelines: what is done to a hypothesis before a model scores it.

The name carries a version (``lower.1``) and stands in weight sets and signatures: what a pipeline does never
changes under one name, a new behaviour is a new version.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nbest.errors import ConfigError


@dataclass(frozen=True)
class Pipeline:
    """A text pipeline: its versioned name, what it does, and the function text -> text."""

    name: str
    what: str
    apply: Callable[[str], str]

    def __call__(self, texts: Sequence[str]) -> list[str]:
        """The texts as a model shall see them, in the same order."""
        return [self.apply(text) for text in texts]


def _unchanged(text: str) -> str:
    return text


PIPELINES: dict[str, Pipeline] = {
    pipeline.name: pipeline
    for pipeline in (
        Pipeline("raw", "the text as it stands", _unchanged),
        Pipeline("lower.1", "lower case, by Unicode", str.lower),
    )
}

DEFAULT_PIPELINE = "raw"


def get_pipeline(name: str) -> Pipeline:
    """The pipeline of that name; without a version (``lower``) the newest one.

    Raises ConfigError naming those that exist.
    """
    if name in PIPELINES:
        return PIPELINES[name]
    versions = {
        int(known.rpartition(".")[2]): known for known in PIPELINES if known.rpartition(".")[0] == name != ""
    }
    if versions:
        return PIPELINES[versions[max(versions)]]
    raise ConfigError(
        "unknown text pipeline", where="text", expected=f"one of {', '.join(PIPELINES)}", got=repr(name)
    )


def words(text: str) -> list[str]:
    """The words of a text: split on ASCII space only, since a no-break space may stand inside a word."""
    return [word for word in text.split(" ") if word]


def squeeze(text: str) -> str:
    """The text with one space between words and none around: the words stay what they are."""
    text = text.strip(" ")
    return " ".join(words(text)) if "  " in text else text
