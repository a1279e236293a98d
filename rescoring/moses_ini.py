"""The weights in a moses.ini: read for the features of lists, and written back with all else left as it is.

Two things keep an ini and its lists apart. Features that are not tuneable (the unknown-word penalty, or
``tuneable=false``) have a weight but are not printed in lists; and ``tuneable-components=1,0,1`` prints only
some values of a feature. What lists do not show keeps its weight, and is reported, not dropped in silence.
"""

import os
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from nbest.errors import FormatError, WeightsError, shorten
from nbest.files import read_lines
from rescoring.formats.numbers import finite
from rescoring.nbest import Feature

NEVER_TUNEABLE = "UnknownWordPenalty"  # Moses sets tuneable=false itself
OLD_SECTION = re.compile(r"weight-(?!file|overwrite)[a-z]+")  # until 2013: [weight-l], [weight-t], ...
WEIGHT = re.compile(r"(?P<head>\s*(?P<name>[^\s=#]+)\s*=\s*)(?P<values>[^#]*?)(?P<tail>\s*(?:#.*)?)")


@dataclass(frozen=True)
class MosesWeights:
    """What a moses.ini says about weights.

    features  name -> all its weights, in the order of the [weight] section
    hidden    features that lists do not show
    shown     name -> which of its values lists show, where not all
    """

    features: Mapping[str, tuple[float, ...]]
    hidden: frozenset[str] = frozenset()
    shown: Mapping[str, tuple[bool, ...]] = field(default_factory=dict)

    def for_schema(self, schema: Sequence[Feature]) -> tuple[dict[str, tuple[float, ...]], tuple[str, ...]]:
        """The weights of the features in `schema` that the ini knows, and notes on what is not used.

        Raises WeightsError for a feature that the lists should show and do not, or of another width.
        """
        widths = {feature.name: feature.width for feature in schema}
        taken: dict[str, tuple[float, ...]] = {}
        notes: list[str] = []
        for name, values in self.features.items():
            if name not in widths:
                if name not in self.hidden:
                    raise WeightsError(
                        f"the lists lack the feature {shorten(name)} of the moses.ini",
                        expected=", ".join(self.features),
                        got=", ".join(widths) or "no features",
                    )
                notes.append(f"{name} is not tuneable and not in the lists: its weight is not used")
                continue
            mask = self.shown.get(name, (True,) * len(values))
            if len(values) == widths[name]:
                taken[name] = values
            elif sum(mask) == widths[name]:
                taken[name] = tuple(value for value, kept in zip(values, mask, strict=True) if kept)
                notes.append(
                    f"{name}: {len(values) - sum(mask)} of its {len(values)} weights are not tuneable"
                )
            else:
                raise WeightsError(
                    f"feature {shorten(name)} has another width",
                    expected=f"{sum(mask)} values, as in the moses.ini",
                    got=f"{widths[name]} in the lists",
                )
        return taken, tuple(notes)


def read_moses_weights(path: str | os.PathLike[str]) -> MosesWeights:
    """The weights of a moses.ini; raises FormatError naming file and line."""
    return parse_moses_weights("\n".join(line for _, line in read_lines(path)), os.fspath(path))


def parse_moses_weights(ini: str, where: str = "moses.ini") -> MosesWeights:
    """As `read_moses_weights`, from the text of the file."""
    features: dict[str, tuple[float, ...]] = {}
    for number, match in _weight_lines(ini, where):
        name, place = match["name"], f"{where}:{number}"
        if name in features:
            raise FormatError(f"weights of {shorten(name)} stand there twice", where=place)
        features[name] = tuple(
            finite(token, f"weight of {shorten(name)}", place) for token in match["values"].split()
        )
        if not features[name]:
            raise FormatError(f"{shorten(name)} has no weight", where=place, expected="one or more numbers")
    if not features:
        raise FormatError(
            "no weights", where=where, expected="a section [weight] of lines 'Name= number ...'"
        )
    hidden = {name for name in features if name.rstrip("0123456789") == NEVER_TUNEABLE}
    shown: dict[str, tuple[bool, ...]] = {}
    for name, options in _feature_options(ini):
        if "tuneable" in options:
            hidden = hidden - {name} if _true(options["tuneable"]) else hidden | {name}
        if "tuneable-components" in options and name in features:
            shown[name] = tuple(map(_true, options["tuneable-components"].split(",")))
            if len(shown[name]) != len(features[name]):
                raise FormatError(
                    f"tuneable-components of {shorten(name)} do not fit its weights",
                    where=where,
                    expected=f"{len(features[name])} components, as there are weights",
                    got=options["tuneable-components"],
                )
    return MosesWeights(features, frozenset(hidden), shown)


def replace_weights(
    ini: str,
    features: Mapping[str, Sequence[float]],
    where: str = "moses.ini",
    leave_out: Collection[str] = (),
) -> str:
    """The text of a moses.ini with these weights; every other byte stays as it is.

    Weights that lists do not show (the unknown-word penalty, untuneable components) keep their value. A
    feature that the ini does not have, such as a language model that only rescores, raises WeightsError
    unless `leave_out` names it: a decoder without it is not the system that was tuned.
    """
    known = parse_moses_weights(ini, where)
    strangers = [name for name in features if name not in known.features and name not in leave_out]
    if strangers:
        raise WeightsError(
            f"the decoder does not have the features {', '.join(map(shorten, strangers))}",
            where=where,
            expected=f"features among {', '.join(known.features)}, or these named as left out",
            got=", ".join(features),
        )
    unset = [name for name in known.features if name not in features and name not in known.hidden]
    if unset:
        raise WeightsError(
            f"no weight for {', '.join(map(shorten, unset))}",
            where=where,
            expected=", ".join(name for name in known.features if name not in known.hidden),
            got=", ".join(features),
        )
    lines = ini.split("\n")
    for number, match in _weight_lines(ini, where):
        if match["name"] in features:
            values = _completed(known, match["name"], features[match["name"]], where)
            lines[number - 1] = f"{match['head']}{' '.join(map(repr, values))}{match['tail']}"
    return "\n".join(lines)


def _completed(known: MosesWeights, name: str, given: Sequence[float], where: str) -> list[float]:
    """All weights of a feature: the given ones, and the old ones of components that lists do not show."""
    old = known.features[name]
    mask = known.shown.get(name, (True,) * len(old))
    if len(given) == len(old):
        return [float(value) for value in given]
    if len(given) != sum(mask):
        raise WeightsError(
            f"feature {shorten(name)} has another width",
            where=where,
            expected=f"{sum(mask)} weights",
            got=f"{len(given)}",
        )
    new = iter(given)
    return [float(next(new)) if tuned else value for value, tuned in zip(old, mask, strict=True)]


def _sections(ini: str) -> Iterator[tuple[int, str, str]]:
    """(line number from 1, section, line) of every line that is not a section's name."""
    section = ""
    for number, line in enumerate(ini.split("\n"), start=1):
        content = line.split("#", 1)[0].strip()
        if content.startswith("[") and content.endswith("]"):
            section = content[1:-1].strip()
            continue
        yield number, section, line


def _weight_lines(ini: str, where: str) -> Iterator[tuple[int, re.Match[str]]]:
    """(line number, its parts) of every line with weights."""
    for number, section, line in _sections(ini):
        if not line.split("#", 1)[0].strip():
            continue
        if OLD_SECTION.fullmatch(section):
            raise FormatError(
                f"section [{section}] of an old moses.ini",
                where=f"{where}:{number}",
                expected="one section [weight] of lines 'Name= number ...'",
            )
        if section == "weight":
            match = WEIGHT.fullmatch(line)
            if match is None:
                raise FormatError(
                    "not a weight",
                    where=f"{where}:{number}",
                    expected="'Name= number ...'",
                    got=shorten(line),
                )
            yield number, match


def _feature_options(ini: str) -> Iterator[tuple[str, dict[str, str]]]:
    """(name, options) of every line of [feature]; without ``name=`` Moses numbers each kind from 0."""
    unnamed: Counter[str] = Counter()
    for _, section, line in _sections(ini):
        kind, *parts = line.split("#", 1)[0].split() or [""]
        if section != "feature" or not kind:
            continue
        options = {key: value for key, _, value in (part.partition("=") for part in parts)}
        if "name" in options:
            yield options["name"], options
        else:
            yield f"{kind}{unnamed[kind]}", options
            unnamed[kind] += 1


def _true(value: str) -> bool:
    return value.strip().lower() not in ("0", "false", "no")
