"""A ranked list in the words of the API."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from rescoring import loglinear
from rescoring.nbest import Feature
from rescoring.pipeline import Ranked
from service.answering import shown_rows
from service.registry import Token
from service.schemas import ListOut, Options, RankedOut, TokenOut


def list_out(
    ranked: Ranked,
    options: Options,
    warnings: Sequence[str],
    tokens: Mapping[str, Sequence[Sequence[Token]]],
) -> ListOut:
    """The result of one list (S = 1)."""
    lists = ranked.lists
    parts = loglinear.contributions(lists, ranked.vector) if options.contributions else None  # (N, schema)
    names = [feature.name for feature in lists.schema]
    ranking = [
        RankedOut(
            rank=place + 1,
            index=row,
            text=lists.texts[row],
            score=float(ranked.totals[row]),
            features=by_name(lists.schema, lists.features[row]),
            contributions=None if parts is None else dict(zip(names, parts[row].tolist(), strict=True)),
            tokens={name: tokens_out(of_list[place]) for name, of_list in tokens.items()} or None,
        )
        for place, row in enumerate(shown_rows(ranked, options.top_k))
    ]
    return ListOut(
        id=lists.ids[0],
        changed=bool(ranked.changed[0]),
        warnings=[*warnings, *ranked.warnings],
        weights=by_name(lists.schema, ranked.vector),
        ranking=ranking,
    )


def by_name(schema: Sequence[Feature], values: NDArray[np.float64]) -> dict[str, float | list[float]]:
    """(F,) numbers by feature: one, or as many as the feature is wide."""
    numbers = values.tolist()
    named: dict[str, float | list[float]] = {}
    start = 0
    for feature in schema:
        block = numbers[start : start + feature.width]
        named[feature.name] = block[0] if feature.width == 1 else block
        start += feature.width
    return named


def tokens_out(tokens: Sequence[Token]) -> list[TokenOut]:
    """A text's tokens as they are answered."""
    return [TokenOut(token=one.token, nat_log_prob=one.nat_log_prob, oov=one.is_oov) for one in tokens]
