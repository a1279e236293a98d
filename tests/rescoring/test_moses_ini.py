import re

import pytest

from nbest.errors import FormatError, NonFiniteFeatureError, WeightsError
from rescoring.moses_ini import parse_moses_weights, read_moses_weights, replace_weights
from rescoring.nbest import Feature

INI = """# MERT optimized configuration
[input-factors]
0

[feature]
UnknownWordPenalty
WordPenalty
PhraseDictionaryMemory name=TranslationModel0 num-features=4 path=pt tuneable-components=1,0,1,0  # two hidden
KENLM lazyken=0 name=LM0 factor=0 path=lm order=5
KENLM factor=0 path=lm2 order=3 tuneable=false
KENLM factor=0 path=lm3 order=3

# core weights
[weight]
LM0= 0.5
  WordPenalty0=  -1\t# longer output

TranslationModel0= 0.2 0.3 0.4 0.1
UnknownWordPenalty0= 1
KENLM0= 0.25
KENLM1= 0.75
[threads]
all
"""
SHOWN = (Feature("LM0"), Feature("WordPenalty0"), Feature("TranslationModel0", 2), Feature("KENLM1"))


def test_read(tmp_path: object) -> None:
    weights = parse_moses_weights(INI)
    assert weights.features == {
        "LM0": (0.5,),
        "WordPenalty0": (-1.0,),
        "TranslationModel0": (0.2, 0.3, 0.4, 0.1),
        "UnknownWordPenalty0": (1.0,),
        "KENLM0": (0.25,),
        "KENLM1": (0.75,),
    }
    assert weights.hidden == {"UnknownWordPenalty0", "KENLM0"}
    assert weights.shown == {"TranslationModel0": (True, False, True, False)}


def test_from_a_file_with_carriage_returns(tmp_path: object) -> None:
    path = tmp_path / "moses.ini"  # type: ignore[operator]
    path.write_bytes(INI.replace("\n", "\r\n").encode())
    assert read_moses_weights(path) == parse_moses_weights(INI)


def test_what_lists_do_not_show_is_noted() -> None:
    taken, notes = parse_moses_weights(INI).for_schema((*SHOWN, Feature("small")))
    assert taken == {
        "LM0": (0.5,),
        "WordPenalty0": (-1.0,),
        "TranslationModel0": (0.2, 0.4),
        "KENLM1": (0.75,),
    }
    assert notes == (
        "TranslationModel0: 2 of its 4 weights are not tuneable",
        "UnknownWordPenalty0 is not tuneable and not in the lists: its weight is not used",
        "KENLM0 is not tuneable and not in the lists: its weight is not used",
    )


def test_lists_that_show_everything() -> None:
    schema = (*SHOWN[:2], Feature("TranslationModel0", 4), Feature("UnknownWordPenalty0"), Feature("KENLM1"))
    taken, notes = parse_moses_weights(INI).for_schema(schema)
    assert taken["TranslationModel0"] == (0.2, 0.3, 0.4, 0.1)
    assert taken["UnknownWordPenalty0"] == (1.0,)
    assert len(notes) == 1


def test_lists_that_do_not_fit() -> None:
    weights = parse_moses_weights(INI)
    with pytest.raises(
        WeightsError, match=r"the lists lack the feature 'KENLM1' of the moses.ini; expected LM0, "
    ):
        weights.for_schema(SHOWN[:3])
    with pytest.raises(
        WeightsError, match=r"another width; expected 2 values, as in the moses.ini; got 3 in the"
    ):
        weights.for_schema((*SHOWN[:2], Feature("TranslationModel0", 3), Feature("KENLM1")))


NEW = {"LM0": (0.125,), "WordPenalty0": (-1e-05,), "TranslationModel0": (1.0, -2.5), "KENLM1": (3.0,)}


def test_only_the_weights_change() -> None:
    wanted = (
        INI.replace("LM0= 0.5", "LM0= 0.125")
        .replace("  WordPenalty0=  -1\t# longer", "  WordPenalty0=  -1e-05\t# longer")
        .replace("0.2 0.3 0.4 0.1", "1.0 0.3 -2.5 0.1")
        .replace("KENLM1= 0.75", "KENLM1= 3.0")
    )
    assert replace_weights(INI, NEW) == wanted
    assert replace_weights(INI.replace("\n", "\r\n"), NEW) == wanted.replace("\n", "\r\n")


def test_what_is_written_reads_back() -> None:
    again, _ = parse_moses_weights(replace_weights(INI, NEW)).for_schema(SHOWN)
    assert again == NEW


def test_a_model_that_only_rescores_is_not_dropped_in_silence() -> None:
    features = {**NEW, "small": (1.0,), "word_count": (0.5,)}
    with pytest.raises(
        WeightsError, match=r"moses.ini: the decoder does not have the features 'small', 'word_count'"
    ):
        replace_weights(INI, features)
    assert replace_weights(INI, features, leave_out=["small", "word_count"]) == replace_weights(INI, NEW)


def test_a_weight_that_is_missing_or_too_many() -> None:
    with pytest.raises(WeightsError, match="no weight for 'KENLM1'; expected LM0, WordPenalty0, Tr"):
        replace_weights(INI, {name: NEW[name] for name in list(NEW)[:3]})
    with pytest.raises(
        WeightsError, match="'TranslationModel0' has another width; expected 2 weights; got 3"
    ):
        replace_weights(INI, {**NEW, "TranslationModel0": (1, 2, 3)})


@pytest.mark.parametrize(
    ("ini", "message"),
    [
        ("[feature]\nWordPenalty\n", "m.ini: no weights; expected a section [weight]"),
        ("[weight]\nLM0= \n", "m.ini:2: 'LM0' has no weight"),
        ("[weight]\nLM0 0.5\n", "m.ini:2: not a weight; expected 'Name= number ...'; got 'LM0 0.5'"),
        ("[weight]\nLM0= 0.5\nLM0= 1\n", "m.ini:3: weights of 'LM0' stand there twice"),
        ("[weight]\nLM0= 0,5\n", "m.ini:2: weight of 'LM0' is not a number"),
        (
            "[weight-l]\n0.5\n",
            "m.ini:2: section [weight-l] of an old moses.ini; expected one section [weight]",
        ),
        (
            "[feature]\nLM name=LM0 tuneable-components=1,0\n[weight]\nLM0= 1\n",
            "m.ini: tuneable-components of 'LM0' do not fit its weights; expected 1 components",
        ),
    ],
)
def test_wrong_files(ini: str, message: str) -> None:
    with pytest.raises(FormatError, match=re.escape(message)):
        parse_moses_weights(ini, "m.ini")


def test_weights_are_finite() -> None:
    with pytest.raises(NonFiniteFeatureError, match=r"m.ini:2: weight of 'LM0' is not finite"):
        parse_moses_weights("[weight]\nLM0= 1 nan\n", "m.ini")


def test_glued_values_are_read() -> None:
    """Moses' own extractor takes ``X=-1`` for 0."""
    assert parse_moses_weights("[weight]\nX=-1\n").features == {"X": (-1.0,)}
