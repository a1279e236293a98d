"""The feature field of a Moses line: labels and their values.

Name0= v v v Name1= v        labels of Moses today; sparse ones (`WT_a~b= 1`) stand among them
d: 0 lm: -3.2 lm: -4.1       old labels; a repeated label adds a value to the same feature
-1.2 -3.4 0                  no labels: the features are called f0, f1, f2, ...
Name0=v Name1=v              label and value glued, as cdec and others write
"""

from collections.abc import Sequence
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from nbest.errors import FormatError, shorten
from rescoring.formats.numbers import finite, finite_array, is_not_finite, is_number
from rescoring.nbest import Feature


def parse_field(field: str, where: str) -> dict[str, list[float]]:
    """Values by feature name, in the order of the field: the rule itself, one token at a time.

    Raises FormatError or NonFiniteFeatureError at `where`.
    """
    values: dict[str, list[float]] = {}
    label = ""
    waiting = False  # a label that has had no value yet
    for token in field.split(" "):
        if not token:
            continue
        if is_number(token) or is_not_finite(token):
            name = label or f"f{len(values)}"
            values.setdefault(name, []).append(finite(token, f"feature {name}", where))
            waiting = False
            continue
        if waiting:
            raise _no_value(label, shorten(token), where)
        if token[-1] in "=:":
            label, waiting = token[:-1], True
        else:
            label, _, glued = token.rpartition("=")
            if label:
                values.setdefault(label, []).append(finite(glued, f"feature {label}", where))
        if not label:
            raise FormatError(
                "neither a label nor a number in the feature field",
                where=where,
                expected="'Name= value ...'",
                got=shorten(token),
            )
    if waiting:
        raise _no_value(label, "the end of the field", where)
    return values


def _no_value(label: str, then: str, where: str) -> FormatError:
    return FormatError(f"feature {label} has no value", where=where, expected="a number", got=then)


def schema_of(values: dict[str, list[float]]) -> tuple[Feature, ...]:
    """The features of one line with their widths."""
    return tuple(Feature(name, len(numbers)) for name, numbers in values.items())


class Layout:
    """Where the labels and the values stand in a dense field: the same on every line of most files.

    `usable` is false for fields it does not know how to read as `parse_field` does: repeated or glued labels,
    values before the first label, a single value.
    """

    def __init__(self, field: str, where: str) -> None:
        tokens = field.split(" ")
        value_at = [k for k, token in enumerate(tokens) if is_number(token)]
        others_at = [k for k, token in enumerate(tokens) if not is_number(token)]  # labels and empty tokens
        labels = [tokens[k] for k in others_at if tokens[k]]
        names = {label[:-1] for label in labels}
        self.features = schema_of(parse_field(field, where))
        self.usable = (
            min(len(value_at), len(others_at)) > 1
            and all(label[-1] in "=:" for label in labels)
            and len(names) == len(labels)
            and (not labels or tokens.index(labels[0]) < value_at[0])
        )
        if self.usable:
            self._length = len(tokens)
            self._others, self._values = itemgetter(*others_at), itemgetter(*value_at)
            self._expected = self._others(tokens)

    def block(self, fields: Sequence[str]) -> NDArray[np.float64] | None:
        """(len(fields), F) values; None where one of the fields is laid out otherwise or holds no number."""
        if not self.usable:
            return None
        values: list[str] = []
        for field in fields:
            tokens = field.split(" ")
            if len(tokens) != self._length or self._others(tokens) != self._expected:
                return None
            values.extend(self._values(tokens))
        numbers = finite_array(values)
        return None if numbers is None else numbers.reshape(len(fields), -1)
