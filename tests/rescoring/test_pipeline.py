from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from nbest.errors import ConfigError, FeatureError, FormatError, WeightsError
from rescoring.formats import parse_nbest
from rescoring.nbest import Feature, NbestLists
from rescoring.pipeline import (
    Ranked,
    assemble,
    changed_weights,
    fit,
    full_schema,
    ranking_features,
    ranking_signature,
    rescore,
    tunable,
    tunable_schema,
    with_decoder_total,
)
from rescoring.scorer import ScoreArrays
from rescoring.weights import Model, WeightSet


class Lengths:
    """A scorer whose log-probability is minus the number of characters; capitals are OOV words."""

    def __init__(self, name: str = "lm", digest: str = "sha256:1") -> None:
        self.name, self.digest = name, digest
        self.seen: list[str] = []

    def score(self, texts: Sequence[str]) -> ScoreArrays:
        self.seen += texts
        return ScoreArrays(
            np.array([-float(len(text)) for text in texts]),
            np.array([len(text.split()) + 1 for text in texts]),
            np.array([sum(word != word.lower() for word in text.split()) for text in texts]),
        )


def lists_of(features: dict[str, list[float]], texts: Sequence[str], sizes: Sequence[int]) -> NbestLists:
    return NbestLists(
        ids=tuple(str(n) for n in range(len(sizes))),
        offsets=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        texts=tuple(texts),
        schema=tuple(Feature(name) for name in features),
        features=np.array(list(features.values()), dtype=np.float64).T.reshape(len(texts), len(features)),
        source="lists",
    )


LISTS = lists_of({"ac": [-5, -4, -4, -1, -2]}, ["bb", "a", "Aaa", "x", "x"], [3, 2])


def slow_order(ranked: Ranked) -> list[int]:
    """List by list, best first, by a sort of sums; the obvious way."""
    rows: list[int] = []
    for block in ranked.lists:
        weights = ranked.vectors[ranked.lists.segments[block[0]]]
        sums = {row: sum(ranked.lists.features[row] * weights) for row in block}
        rows += sorted(block, key=lambda row: (-sums[row], row))
    return rows


def test_ranks_by_weighted_sums_list_by_list() -> None:
    scorer = Lengths()
    ranked = rescore(LISTS, [scorer], WeightSet({"ac": (1.0,), "lm": (2.0,)}))
    assert [feature.name for feature in ranked.lists.schema] == ["ac", "lm", "lm.oov", "word_count"]
    assert ranked.totals.tolist() == [-9.0, -6.0, -10.0, -3.0, -4.0]
    assert ranked.order.tolist() == [1, 0, 2, 3, 4] == slow_order(ranked)
    assert ranked.best.tolist() == [1, 3]
    assert ranked.changed.tolist() == [True, False]
    assert ranked.vector.tolist() == [1.0, 2.0, 0.0, 0.0]
    assert scorer.seen == ["bb", "a", "Aaa", "x"]  # each text once
    assert ranked.warnings == ()


def test_equal_totals_keep_their_order_and_equal_texts_are_no_change() -> None:
    lists = lists_of({"ac": [1, 2, 2]}, ["same", "same", "other"], [3])
    ranked = rescore(lists, [], WeightSet({"ac": (1.0,)}))
    assert ranked.order.tolist() == [1, 2, 0]
    assert ranked.changed.tolist() == [False]


def test_random_lists_rank_as_the_slow_way_does() -> None:
    random = np.random.default_rng(1)
    sizes = random.integers(1, 9, 40)
    count = int(sizes.sum())
    features = {name: random.integers(-3, 3, count).tolist() for name in ("a", "b", "c")}
    lists = lists_of(features, [f"{n % 7}" for n in range(count)], sizes.tolist())
    ranked = rescore(lists, [Lengths()], WeightSet({"a": (1.0,), "b": (-0.5,), "c": (2.0,), "lm": (1.0,)}))
    assert ranked.order.tolist() == slow_order(ranked)


def test_texts_go_through_the_weights_pipeline() -> None:
    scorer = Lengths()
    ranked = rescore(LISTS, [scorer], WeightSet({"ac": (1.0,), "lm": (1.0,)}, text="lower.1"))
    assert "aaa" in scorer.seen
    assert ranked.lists.feature("lm.oov").sum() == 0
    assert ranked.lists.texts == LISTS.texts


def test_weights_bound_to_a_model_refuse_another() -> None:
    weights = WeightSet({"ac": (1.0,), "lm": (1.0,)}, models=(Model("lm", "sha256:1"),))
    rescore(LISTS, [Lengths()], weights)
    with pytest.raises(WeightsError, match="another version"):
        rescore(LISTS, [Lengths(digest="sha256:2")], weights)
    with pytest.raises(WeightsError, match="other language models"):
        rescore(LISTS, [], weights)


def test_a_model_without_a_weight_is_an_error() -> None:
    with pytest.raises(WeightsError, match="features without a weight: 'lm'"):
        rescore(LISTS, [Lengths()], WeightSet({"ac": (1.0,)}))


def test_unknown_features_are_ignored_only_when_asked() -> None:
    lists = lists_of({"ac": [-1, -2], "am": [-9, 0]}, ["a", "b"], [2])
    weights = WeightSet({"ac": (1.0,)})
    with pytest.raises(WeightsError) as caught:
        rescore(lists, [], weights)
    assert caught.value.where == "lists"
    ranked = rescore(lists, [], weights, unknown_feature="ignore")
    assert ranked.order.tolist() == [0, 1]
    assert ranked.warnings == ("features without a weight are ignored: am",)


@pytest.mark.parametrize(
    ("weights", "words"),
    [({"ac": (1.0,), "lm": (1.0,)}, "the lists lack 'lm'"), ({"ac": (1.0, 2.0)}, "another width")],
)
def test_missing_features_and_other_widths_name_the_lists(
    weights: dict[str, tuple[float, ...]], words: str
) -> None:
    with pytest.raises(WeightsError, match=words) as caught:
        rescore(LISTS, [], WeightSet(weights))
    assert caught.value.where == "lists"


def test_counts_and_totals_may_have_weights_and_need_none() -> None:
    lists = lists_of({"total": [-3, -2]}, ["a b c", "d"], [2])
    counted = rescore(lists, [], WeightSet({"word_count": (1.0,)}))
    assert counted.totals.tolist() == [3.0, 1.0]
    both = rescore(lists, [], WeightSet({"word_count": (1.0,), "total": (2.0,)}))
    assert both.totals.tolist() == [-3.0, -3.0]


MOSES = "0 ||| a ||| LM0= -1 ||| -5\n0 ||| bb ||| LM0= -2 ||| -4.5\n"


def moses() -> NbestLists:
    return parse_nbest(enumerate(MOSES.rstrip("\n").split("\n"), 1), "moses", "moses")


def test_without_weights_the_decoders_total_ranks() -> None:
    ranked = rescore(moses(), [], None)
    assert ranked.totals.tolist() == [-5.0, -4.5]
    assert ranked.order.tolist() == [1, 0]
    (warning,) = ranked.warnings
    assert warning == "no weights given: ranked by decoder_total alone; not used: LM0"


def test_without_weights_models_count_beside_the_total_by_the_spread_of_the_list() -> None:
    ranked = rescore(moses(), [Lengths()], None)
    weight = (0.25 / 0.5) ** (1 / 3)  # of the spreads of two hypotheses
    assert ranked.vectors.tolist() == [pytest.approx([0.0, 1.0, weight, 0.0, 0.0])]
    assert ranked.totals.tolist() == pytest.approx([-5.0 - weight, -4.5 - 2 * weight])
    assert ranked.weights is None
    assert ranked.warnings == (
        "no weights given: ranked by decoder_total + lm, untuned: weighed by the spread of each list;"
        " not used: LM0",
    )
    assert ranked.order.tolist() == slow_order(ranked)


def test_without_weights_model_or_total_there_is_nothing_to_rank_by() -> None:
    with pytest.raises(WeightsError, match="nothing to rank by"):
        ranking_features(LISTS.schema, "lists", [])


def test_without_weights_features_without_a_total_are_an_error_before_anything_is_scored() -> None:
    scorer = Lengths()
    with pytest.raises(ConfigError) as caught:
        rescore(LISTS, [scorer], None)
    assert str(caught.value) == (
        "lists: no weights, and the features have no total: the models alone would rank; expected weights"
        " (nbest tune finds them), or a feature decoder_total or total or score; got ac"
    )
    assert scorer.seen == []


def test_without_weights_the_models_rank_texts_alone() -> None:
    ranked = rescore(lists_of({}, ["bb", "a"], [2]), [Lengths()], None)
    assert ranked.order.tolist() == [1, 0]
    assert ranked.warnings == ("no weights given: ranked by lm alone",)


def test_changed_weights_replace_and_add() -> None:
    tuned = WeightSet({"ac": (1.0,), "lm": (2.0,)}, models=(Model("lm", "sha256:1"),))
    scorers = [Lengths(), Lengths("new")]
    changed = changed_weights(tuned, {"ac": (0.5,), "new": (3.0,)}, scorers)
    assert changed.features == {"ac": (0.5,), "lm": (2.0,), "new": (3.0,)}
    assert changed.models == (Model("lm", "sha256:1"), Model("new", scorers[1].digest))
    assert changed_weights(WeightSet({"ac": (1.0,)}), {"lm": (1.0,)}, scorers).models == ()
    assert changed_weights(None, {"lm": (1.0,)}, scorers) == WeightSet({"lm": (1.0,)})


def test_only_moses_lists_get_a_decoder_total_and_only_once() -> None:
    assert with_decoder_total(LISTS) is LISTS
    once = with_decoder_total(moses())
    assert once.feature("decoder_total").tolist() == [[-5.0], [-4.5]]
    assert with_decoder_total(once) is once


def test_score_files_become_features(tmp_path: Path) -> None:
    path = tmp_path / "scores"
    path.write_text("1\n2\n3\n4\n5\n")
    ranked = rescore(LISTS, [], WeightSet({"ac": (0.0,), "new": (1.0,)}), external=[("new", path)])
    assert ranked.order.tolist() == [2, 1, 0, 4, 3]


def test_names_that_clash_are_errors() -> None:
    with pytest.raises(FeatureError):
        assemble(LISTS, [Lengths("ac")])
    with pytest.raises(FeatureError):
        assemble(LISTS, [Lengths(), Lengths()])


def test_an_empty_list_is_an_error_that_names_it() -> None:
    lists = lists_of({"ac": [-1]}, ["a"], [1, 0])
    with pytest.raises(FormatError, match="empty list") as caught:
        rescore(lists, [], WeightSet({"ac": (1.0,)}))
    assert "'1'" in str(caught.value)


def test_the_schema_is_known_before_anything_is_scored(tmp_path: Path) -> None:
    lists = NbestLists(
        ids=("0",),
        offsets=np.array([0, 1]),
        texts=("a",),
        schema=(Feature("tm", 2), Feature("total")),
        features=np.zeros((1, 3)),
    )
    scores = tmp_path / "scores"
    scores.write_text("1\n")
    for named in ([("new", scores)], [("word_count", scores)], []):
        for scorers in ([Lengths()], []):
            full = assemble(lists, scorers, named)
            assert full_schema(lists, scorers, [name for name, _ in named]) == full.schema
            assert tunable_schema(full.schema) == tunable(full).schema


def test_fit_puts_each_weight_at_its_columns() -> None:
    lists = NbestLists(
        ids=("0",),
        offsets=np.array([0, 1]),
        texts=("a",),
        schema=(Feature("b"), Feature("tm", 2), Feature("total"), Feature("a")),
        features=np.zeros((1, 5)),
    )
    vector, ignored = fit(
        WeightSet({"a": (1.0,), "tm": (2.0, 3.0), "b": (4.0,)}), lists.schema, lists.source, [], "error"
    )
    assert vector.tolist() == [4.0, 2.0, 3.0, 0.0, 1.0]
    assert ignored == []


def test_signature_names_models_weights_text() -> None:
    weights = WeightSet({"lm": (1.0,)}, text="lower.1")
    signed = ranking_signature(weights, {"lm": "sha256:1"}, "asr")
    assert "|lm:sha256:1|weights:asr:sha256:" in signed
    assert signed.endswith("|precision:fp32|text:lower.1")
    assert signed != ranking_signature(WeightSet({"lm": (2.0,)}, text="lower.1"), {"lm": "sha256:1"}, "asr")
    assert "|weights:untuned:spread:1|" in ranking_signature(None, {})
