"""A weight set that comes in a request: read as a file of `nbest tune` is, its errors at JSON pointers."""

import json
from typing import Any

from nbest.errors import WeightsError
from rescoring.text import get_pipeline
from rescoring.weights import WeightSet, parse_weights
from service.request_lists import check_width


def weights_at(document: Any, place: str) -> WeightSet:
    """The weight set of a JSON value that stands at `place`; raises WeightsError."""
    try:
        return parse_weights(json.dumps(document), place)
    except WeightsError as error:
        _, _, inside = (error.where or "").partition(f"{place}:")
        where = place if inside == "/" else place + inside
        raise WeightsError(error.message, where=where, expected=error.expected, got=error.got) from None


def whole_weights(document: Any, max_features: int) -> WeightSet:
    """The weight set that is a whole body; raises WeightsError, ConfigError, LimitError."""
    weights = weights_at(document, "")
    check_width(sum(map(len, weights.features.values())), "/features", max_features)
    get_pipeline(weights.text)  # one that is not known here would fail at its first use
    return weights
