import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbest.errors import FormatError, NonFiniteFeatureError
from rescoring.formats.numbers import finite, finite_array, is_number


@pytest.mark.parametrize(
    ("token", "value"),
    [
        ("0", 0.0),
        ("-0", 0.0),
        ("+1", 1.0),
        ("-117.175", -117.175),
        (".5", 0.5),
        ("5.", 5.0),
        ("-1e-07", -1e-07),
        ("1E+2", 100.0),
    ],
)
def test_numbers_as_decoders_print_them(token: str, value: float) -> None:
    assert finite(token, "x", "f:1") == value
    assert finite_array([token]) == [value]


@pytest.mark.parametrize(
    "token", ["", "x", "1_000", "١", "1,5", "0x10", "1.2.3", "-", "e5", "1\t", "--1", "1" * 401]
)
def test_what_is_no_number(token: str) -> None:
    assert not is_number(token)
    assert finite_array(["1", token]) is None
    with pytest.raises(FormatError, match=r"^f:1: x is not a number; expected a number; got "):
        finite(token, "x", "f:1")


@pytest.mark.parametrize("token", ["nan", "NaN", "-nan", "inf", "-inf", "Infinity", "1e999", "nan(0x1)"])
def test_not_finite(token: str) -> None:
    assert finite_array(["1", token]) is None
    with pytest.raises(NonFiniteFeatureError) as caught:
        finite(token, "feature LM0", "f:7")
    assert str(caught.value) == f"f:7: feature LM0 is not finite; expected a finite number; got {token!r}"


def test_a_very_long_token_is_refused_at_once() -> None:
    started = time.monotonic()
    with pytest.raises(FormatError, match=r"\(10000000 characters\)$"):
        finite("1" * 10_000_000, "x", "f:1")
    assert finite_array(["1" * 10_000_000]) is None
    assert time.monotonic() - started < 2


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False)))
@settings(deadline=None)
def test_bulk_and_single_agree(numbers: list[float]) -> None:
    tokens = [repr(number) for number in numbers]
    bulk = finite_array(tokens)
    assert bulk is not None
    assert np.array_equal(bulk, [finite(token, "x", "f:1") for token in tokens])


@given(st.lists(st.text(alphabet="0123456789+-.eE_naif \t", max_size=6)))
@settings(deadline=None)
def test_bulk_refuses_exactly_what_single_refuses(tokens: list[str]) -> None:
    try:
        single = [finite(token, "x", "f:1") for token in tokens]
    except (FormatError, NonFiniteFeatureError):
        assert finite_array(tokens) is None
    else:
        bulk = finite_array(tokens)
        assert bulk is not None
        assert bulk.tolist() == single
