import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbest.errors import FormatError, NonFiniteFeatureError
from rescoring.formats.moses_features import Layout, parse_field, schema_of
from rescoring.nbest import Feature


@pytest.mark.parametrize(
    ("field", "values"),
    [
        (
            " LexicalReordering0= -1.7 0 0 Distortion0= 0 LM0= -44.1181 ",
            {"LexicalReordering0": [-1.7, 0, 0], "Distortion0": [0], "LM0": [-44.1181]},
        ),
        (" d: 0 lm: -3.2 -4.1 w: -5 ", {"d": [0], "lm": [-3.2, -4.1], "w": [-5]}),
        (" lm: -3.2 lm: -4.1 w: -5", {"lm": [-3.2, -4.1], "w": [-5]}),
        (" -1.5 0 -9 ", {"f0": [-1.5], "f1": [0], "f2": [-9]}),
        (" -1.5 0 LM0= -9 ", {"f0": [-1.5], "f1": [0], "LM0": [-9]}),
        (" map: 1.5 w: 9 -1 -2 ", {"map": [1.5], "w": [9, -1, -2]}),
        (
            " LM0= -1 PL_2,2= 3 WT_männern~men= 1 my_lm= -2 ",
            {"LM0": [-1], "PL_2,2": [3], "WT_männern~men": [1], "my_lm": [-2]},
        ),
        (" WT_a=b~c:= 2", {"WT_a=b~c:": [2]}),
        (" Glue=3 LanguageModel=-9.25 P_0=1e-05 ", {"Glue": [3], "LanguageModel": [-9.25], "P_0": [1e-05]}),
        ("  LM0=   -1  ", {"LM0": [-1]}),
        (" LM0\u00a0x= -1 ", {"LM0\u00a0x": [-1]}),
        ("  ", {}),
        ("", {}),
    ],
)
def test_fields_of_all_flavours(field: str, values: dict[str, list[float]]) -> None:
    assert parse_field(field, "f:1") == values
    assert list(parse_field(field, "f:1")) == list(values)


@pytest.mark.parametrize(
    ("field", "message"),
    [
        (" LM0= ", "f:3: feature LM0 has no value; expected a number; got the end of the field"),
        (" LM0= TM0= 1 ", "f:3: feature LM0 has no value; expected a number; got 'TM0='"),
        (
            " LM0= 1 rubbish ",
            "f:3: neither a label nor a number in the feature field; expected 'Name= value ...'; got"
            " 'rubbish'",
        ),
        (
            " = 1 ",
            "f:3: neither a label nor a number in the feature field; expected 'Name= value ...'; got '='",
        ),
        (" X=one ", "f:3: feature X is not a number; expected a number; got 'one'"),
        (
            " LM0= 1_0 ",
            "f:3: feature LM0 has no value; expected a number; got '1_0'",
        ),
    ],
)
def test_broken_fields(field: str, message: str) -> None:
    with pytest.raises(FormatError) as caught:
        parse_field(field, "f:3")
    assert str(caught.value) == message


@pytest.mark.parametrize("token", ["nan", "-inf", "1e999"])
def test_values_that_are_not_finite(token: str) -> None:
    for field in (f" LM0= -1 {token} ", f" d= 0 LM0={token} "):
        with pytest.raises(NonFiniteFeatureError) as caught:
            parse_field(field, "f:3")
        assert str(caught.value) == f"f:3: feature LM0 is not finite; expected a finite number; got {token!r}"


@pytest.mark.parametrize(
    "field",
    ["a= 1 b= 2 a= 3", "a= 1 b= 2 a: 3", "1 2 a= 3 b= 4", "a=1 b=2", "f0= 1 2", "7", "1 2 f0= 3 4 "],
)
def test_fields_the_layout_leaves_to_the_rule(field: str) -> None:
    layout = Layout(field, "f:1")
    expected = [number for numbers in parse_field(field, "f:1").values() for number in numbers]
    block = layout.block([field])
    assert block is None or block.tolist() == [expected]


NAMES = st.text(alphabet="abLM_0~,", min_size=1, max_size=4).map(lambda name: f"x{name}")
NUMBERS = st.floats(allow_nan=False, allow_infinity=False, width=32).map(lambda x: f"{x:.6g}")
FIELDS = st.lists(st.tuples(NAMES, st.lists(NUMBERS, min_size=1, max_size=3)), max_size=4)


@given(FIELDS, st.sampled_from(["=", ":"]), st.sampled_from(["", " ", "  "]), st.data())
@settings(deadline=None)
def test_layout_and_rule_agree(
    fields: list[tuple[str, list[str]]], mark: str, edge: str, data: st.DataObject
) -> None:
    def written(values: list[list[str]]) -> str:
        parts = [f"{name}{mark} {' '.join(v)}" for (name, _), v in zip(fields, values, strict=True)]
        return f"{edge}{' '.join(parts)}{edge}"

    lines = [written([v for _, v in fields])]
    for _ in range(3):
        others = [[data.draw(NUMBERS) for _ in v] for _, v in fields]
        lines.append(written(others))
    slow = [parse_field(line, "f:1") for line in lines]
    layout = Layout(lines[0], "f:1")
    fast = layout.block(lines)
    assert layout.features == schema_of(slow[0])
    if len({name for name, _ in fields}) == len(fields) and len(fields) > 1:
        assert fast is not None
    if fast is not None:
        assert np.array_equal(fast, [[x for xs in line.values() for x in xs] for line in slow])


def test_the_layout_refuses_other_lines() -> None:
    layout = Layout(" LM0= -1 TM0= 1 2 ", "f:1")
    assert layout.features == (Feature("LM0"), Feature("TM0", 2))
    good = " LM0= -2 TM0= 3 4 "
    assert layout.block([good]) is not None
    for other in (
        " LM0= -2 TM0= 3 ",
        " LM0= -2 TM1= 3 4 ",
        " LM0=  -2 TM0= 3 4 ",
        " LM0= nan TM0= 3 4 ",
        " LM0= 1_0 TM0= 3 4 ",
        " LM0= TM0= -2 3 4 ",
        "",
    ):
        assert layout.block([good, other]) is None
