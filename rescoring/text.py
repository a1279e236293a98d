"""Named text pipelines: what is done to a text before a model scores it, or before texts are compared.

A pipeline is one step or several with commas between them, done from left to right: ``tags,lower``. A step's
name carries a version (``lower.1``) and stands in weight sets and signatures: what a step does never changes
under one name, a new behaviour is a new version.
"""

import re
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


def words(text: str) -> list[str]:
    """The words of a text: split on ASCII space only, since a no-break space may stand inside a word."""
    return [word for word in text.split(" ") if word]


def squeeze(text: str) -> str:
    """The text with one space between words and none around: the words stay what they are."""
    text = text.strip(" ")
    return " ".join(words(text)) if "  " in text else text


# NIST's list for conversational telephone speech (hub5 GLM: words that map to %hesitation)
HESITATIONS = frozenset("uh um eh mm hm ah huh ha er oof hee ach eee ew %hesitation (%hesitation)".split(" "))
_TAG = re.compile(r"<(?!unk>)[^<> ]*>|\[[^\[\] ]*\]|!SIL|-pau-")
_ENTITIES = {  # of Moses' escape-special-chars.perl; the ampersand comes last
    "&#124;": "|",
    "&bar;": "|",
    "&lt;": "<",
    "&gt;": ">",
    "&apos;": "'",
    "&quot;": '"',
    "&#91;": "[",
    "&bra;": "[",
    "&#93;": "]",
    "&ket;": "]",
    "&amp;": "&",
}
_TO_THE_LEFT = re.compile(r"[,.?!:;\\%}\])]+|'(?:s|m|d|ll|re|ve|t)|n't|'", re.IGNORECASE)
_TO_THE_RIGHT = re.compile(r"[$£€¥(\[{¿¡#]+")


def _unchanged(text: str) -> str:
    return text


def _without_tags(text: str) -> str:
    return " ".join(word for word in words(text) if not _TAG.fullmatch(word))


def _without_hesitations(text: str) -> str:
    return " ".join(word for word in words(text) if word.lower() not in HESITATIONS)


def _joined_bpe(text: str) -> str:
    return text.replace("@@ ", "").removesuffix("@@")


def _joined_sentencepiece(text: str) -> str:
    return squeeze(text.replace(" ", "").replace("▁", " "))


def _first_factor(delimiter: str) -> Callable[[str], str]:
    def first(text: str) -> str:
        return " ".join(word.split(delimiter, 1)[0] or word for word in words(text))

    return first


def _unescaped(text: str) -> str:
    if "&" in text:
        for entity, character in _ENTITIES.items():
            text = text.replace(entity, character)
    return text


def _detokenized(text: str) -> str:
    """English after Moses' detokenizer.perl: punctuation to its word, quotes in pairs, ``@-@`` a hyphen."""
    built: list[str] = []
    glue = True  # whether the next word joins the one before
    quote_is_open = False
    for word in words(_unescaped(text).replace(" @-@ ", "-").replace(" @/@ ", "/")):
        if word == '"':
            joins, glue_next = (quote_is_open or glue, not quote_is_open)
            quote_is_open = not quote_is_open
        elif _TO_THE_RIGHT.fullmatch(word):
            joins, glue_next = glue, True
        else:
            joins, glue_next = glue or _TO_THE_LEFT.fullmatch(word) is not None, False
        built.append(word if joins else f" {word}")
        glue = glue_next
    return "".join(built)


STEPS: dict[str, Pipeline] = {
    step.name: step
    for step in (
        Pipeline("raw", "the text as it stands", _unchanged),
        Pipeline("lower.1", "lower case, by Unicode", str.lower),
        Pipeline("tags.1", "without words in <> or [] (but <unk>), !SIL, -pau-", _without_tags),
        Pipeline("hesitations.1", "without uh, um and NIST's other hesitations", _without_hesitations),
        Pipeline("bpe.1", "subwords that end in @@ joined", _joined_bpe),
        Pipeline("sentencepiece.1", "pieces joined, ▁ a space", _joined_sentencepiece),
        Pipeline("factors.1", "the first factor of word|factor", _first_factor("|")),
        Pipeline("factors-plus.1", "the first factor of word++factor", _first_factor("++")),
        Pipeline("unescape.1", "Moses' &apos; &#124; ... as characters", _unescaped),
        Pipeline("detokenize.1", "English as it is printed, Moses' escapes undone", _detokenized),
    )
}

DEFAULT_PIPELINE = "raw"


def get_pipeline(name: str) -> Pipeline:
    """The pipeline of that name, its steps without a version (``lower``) being the newest ones.

    Raises ConfigError naming the steps that exist.
    """
    steps = [_step(part.strip(" "), name) for part in name.split(",")]
    if len(steps) == 1:
        return steps[0]
    if any(step.name == DEFAULT_PIPELINE for step in steps):
        raise _unknown(name)

    def apply(text: str) -> str:
        for step in steps:
            text = step.apply(text)
        return text

    return Pipeline(",".join(step.name for step in steps), "; ".join(step.what for step in steps), apply)


def _step(part: str, name: str) -> Pipeline:
    if part in STEPS:
        return STEPS[part]
    versions = {
        int(known.rpartition(".")[2]): known for known in STEPS if known.rpartition(".")[0] == part != ""
    }
    if not versions:
        raise _unknown(name)
    return STEPS[versions[max(versions)]]


def _unknown(name: str) -> ConfigError:
    return ConfigError(
        "unknown text pipeline",
        where="text",
        expected=f"one of {', '.join(STEPS)}, or several with commas between them",
        got=repr(name),
    )
