"""Raw English into lower-cased tokenised sentences, in the two forms decoders write.

`written` is what translation systems give: punctuation as tokens, clitics split (``it 's``), digits kept.
`spoken` is what recognisers give: no punctuation, clitics whole (``it's``), numbers and initials in words.
"""

import re
import unicodedata
from collections.abc import Iterator

_ABBREVIATIONS = frozenset(
    "mr mrs ms dr st sr jr prof rev hon gen col capt lt sgt maj gov sen rep vs no vol fig pp ed etc inc ltd "
    "co corp e.g i.e jan feb mar apr jun jul aug sep sept oct nov dec mt messrs esq viz cf ca".split()
)
_QUOTES = str.maketrans(
    {"“": '"', "”": '"', "„": '"', "«": '"', "»": '"', "‘": "'", "’": "'", "ʼ": "'", "`": "'", "´": "'"}
    | {
        "–": " - ",
        "—": " - ",
        "―": " - ",
        "‐": "-",
        "‑": "-",
        "…": " ... ",
        "\u00a0": " ",
        "_": " ",
        "*": " ",
    }
)
_BOUNDARY = re.compile(r"""([.!?]+["')\]]*)\s+(?=["'(\[]*[A-Z0-9])""")
_TOKEN = re.compile(
    r"""[0-9]+(?:[.,:][0-9]+)*(?:st|nd|rd|th|s)?(?![a-z0-9])  # numbers
      | [0-9]+ | [^\W\d_]+(?:['-][^\W\d_]+)*'?                # words, hyphens and apostrophes inside
      | \.\.\. | [^\s\w] | \w""",
    re.VERBOSE,
)
_CLITIC = re.compile(r"(?<=[^\W\d_])('s|'m|'re|'ve|'ll|'d|n't)$")
_INITIALS = re.compile(r"\b(?:[A-Z]\.){2,}|\b[A-Z]{2,4}\b")
_VOWEL = re.compile("[AEIOUY]")
_UNITS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
).split()
_TENS = "x x twenty thirty forty fifty sixty seventy eighty ninety".split()
_ORDINALS = {
    "one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth",
    "nine": "ninth", "twelve": "twelfth",
}  # fmt: skip


def sentences(paragraph: str) -> Iterator[str]:
    """The sentences of one raw line; abbreviations and initials end none."""
    text = unicodedata.normalize("NFKC", paragraph.translate(_QUOTES))
    start = 0
    for match in _BOUNDARY.finditer(text):
        before = text[start : match.start()].rsplit(None, 1)
        last = before[-1].strip("\"'([").lower() if before else ""
        if match.group(1).startswith(".") and (last in _ABBREVIATIONS or len(last) == 1):
            continue
        yield text[start : match.end()].strip()
        start = match.end()
    rest = text[start:].strip()
    if rest:
        yield rest


def written(sentence: str) -> str:
    """Lower-cased tokens as a machine translator writes them."""
    tokens: list[str] = []
    for token in _TOKEN.findall(sentence.translate(_QUOTES).lower()):
        clitic = _CLITIC.search(token)
        if clitic:
            tokens += [token[: clitic.start()], clitic.group()]
        elif len(token) > 1 and token.endswith("'"):
            tokens += [token[:-1], "'"]
        else:
            tokens.append(token)
    return " ".join(token for token in tokens if token)


def spoken(sentence: str) -> str:
    """Lower-cased words as a speech recogniser writes them: numbers, initials and a few signs in words."""
    text = sentence.translate(_QUOTES)
    if not text.isupper():
        text = _INITIALS.sub(_spell, text)
    words: list[str] = []
    for token in _TOKEN.findall(text.lower()):
        if token[0] in "0123456789":
            words += number_words(token)
        elif token in ("&", "%"):
            words.append("and" if token == "&" else "percent")
        elif token[0].isalpha():
            words += [word for word in token.rstrip("'").split("-") if word]
    return " ".join(words)


def _spell(match: re.Match[str]) -> str:
    letters = match.group().replace(".", "")
    is_word = "." not in match.group() and _VOWEL.search(letters) is not None and len(letters) > 2
    return match.group() if is_word else " ".join(letters)


def number_words(token: str) -> list[str]:
    """A number as it is read aloud: cardinals, ordinals, years, decimals, clock times.

    A number of a billion or more is read digit by digit.
    """
    ordinal = token.endswith(("st", "nd", "rd", "th"))
    plural = token.endswith("s") and not ordinal
    plain = token.rstrip("stndrh").replace(",", "")
    if ":" in plain:
        return [word for part in plain.split(":") for word in _cardinal(int(part.partition(".")[0] or 0))]
    whole, _, decimals = plain.partition(".")
    decimals = decimals.replace(".", "")
    if len(whole) > 9:
        return [_UNITS[int(digit)] for digit in whole + decimals]
    value = int(whole)
    year = len(whole) == 4 and "," not in token and not decimals and 1100 <= value < 2000
    if year and value % 100:
        low = value % 100
        words = _cardinal(value // 100) + (["oh"] if low < 10 else []) + _cardinal(low)
    elif year:
        words = [*_cardinal(value // 100), "hundred"]
    else:
        words = _cardinal(value)
    if decimals:
        words = [*words, "point", *(_UNITS[int(digit)] for digit in decimals)]
    if ordinal:
        words[-1] = _ORDINALS.get(
            words[-1], words[-1].removesuffix("y") + ("ieth" if words[-1].endswith("y") else "th")
        )
    if plural:
        words[-1] = words[-1].removesuffix("y") + ("ies" if words[-1].endswith("y") else "s")
    return words


def _cardinal(value: int) -> list[str]:
    for size, name in ((10**6, "million"), (1000, "thousand"), (100, "hundred")):
        if value >= size:
            rest = value % size
            return [*_cardinal(value // size), name, *(_cardinal(rest) if rest else [])]
    if value < 20:
        return [_UNITS[value]]
    return [_TENS[value // 10], *([_UNITS[value % 10]] if value % 10 else [])]
