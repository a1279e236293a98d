"""Lists, models and weights in; a ranking out: the one path of the command line and of HTTP.

lists ─▶ score files ─▶ models' scores, word counts ─▶ weights fitted to the columns ─▶ totals ─▶ order
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nbest.errors import ConfigError, FormatError, WeightsError, shorten
from nbest.signature import precision_of, sha256_hex, signature
from rescoring import loglinear
from rescoring.features import WORD_COUNT, add_external, add_scores, oov_name
from rescoring.formats.moses import DECODER_TOTAL, MosesRecord
from rescoring.formats.totals import RANKING, SUMS, total_name
from rescoring.nbest import Feature, NbestLists
from rescoring.scorer import Named, Scorer
from rescoring.text import DEFAULT_PIPELINE, get_pipeline
from rescoring.untuned import SCALE, untuned_vectors
from rescoring.weights import Model, WeightSet, dump_weights

UnknownFeature = Literal["error", "ignore"]
TOTALS = SUMS  # what a decoder's own weighted sum is called
HOW_TO_WEIGH = "rescore --weight NAME=VALUE, or tune --initial with these weights"
MOST_NAMES = 20  # in a warning


@dataclass(frozen=True)
class Ranked:
    """Lists in a new order.

    lists     with every feature that was added
    weights   those that were given; None: untuned ones ranked
    vectors   (S, F) for each list the weight of each column; 0 for a column that does not take part
    totals    (N,) weighted sums
    order     (N,) rows list by list, best first; of equal totals the earlier is first
    warnings  what was ignored or assumed
    """

    lists: NbestLists
    weights: WeightSet | None
    vectors: NDArray[np.float64]
    totals: NDArray[np.float64]
    order: NDArray[np.int64]
    warnings: tuple[str, ...]

    @property
    def vector(self) -> NDArray[np.float64]:
        """(F,) the weights of the first list: of every list, where weights were given."""
        first: NDArray[np.float64] = self.vectors[0]
        return first

    @property
    def best(self) -> NDArray[np.int64]:
        """(S,) the best row of each list."""
        return self.order[self.lists.offsets[:-1]]

    @property
    def changed(self) -> NDArray[np.bool_]:
        """(S,) whether another text than the first of the list is the best now."""
        texts, first = self.lists.texts, self.lists.offsets[:-1]
        pairs = zip(self.best.tolist(), first.tolist(), strict=True)
        return np.array([texts[best] != texts[before] for best, before in pairs], dtype=np.bool_)


def full_schema(
    lists: NbestLists, scorers: Sequence[Named] = (), external: Sequence[str] = ()
) -> tuple[Feature, ...]:
    """The features that `assemble` will give the lists, known before anything is read or scored."""
    added = list(external)
    added += [name for scorer in scorers for name in (scorer.name, oov_name(scorer.name))]
    if all(name != WORD_COUNT for name in (*(feature.name for feature in lists.schema), *added)):
        added.append(WORD_COUNT)
    return (*lists.schema, *map(Feature, added))


def assemble(
    lists: NbestLists,
    scorers: Sequence[Scorer] = (),
    external: Sequence[tuple[str, Path]] = (),
    text: str = DEFAULT_PIPELINE,
) -> NbestLists:
    """The lists with all their features: score files first, then models' scores, then word counts.

    Raises FormatError for an empty list, FeatureError for a name that is taken, and what the score files
    and the scorers raise.
    """
    sizes = np.diff(lists.offsets)
    if (sizes == 0).any():
        empty = lists.ids[int(np.flatnonzero(sizes == 0)[0])]
        raise FormatError(
            "an empty list has no best hypothesis",
            where=f"{lists.source}, list {empty!r}",
            expected="one or more",
        )
    for name, path in external:
        lists = add_external(lists, name, path)
    return add_scores(lists, scorers, text)


def rescore(
    lists: NbestLists,
    scorers: Sequence[Scorer],
    weights: WeightSet | None,
    *,
    external: Sequence[tuple[str, Path]] = (),
    unknown_feature: UnknownFeature = "error",
    text: str | None = None,
) -> Ranked:
    """Scores and ranks `lists`; without weights untuned ones rank (untuned.py), and a warning says so.

    Models are given the texts through the pipeline that `text_of` finds.

    Raises WeightsError where weights and features or models do not belong together, ConfigError where there
    are no weights for features that have no total either.
    """
    if weights is None:
        lists = with_decoder_total(lists)
    names = [name for name, _ in external]
    vector, warnings = weigh(lists, scorers, weights, names, unknown_feature)
    full = assemble(lists, scorers, external, text_of(weights, text))
    if weights is None:
        vector = untuned_vectors(full, total_name(full.schema), [scorer.name for scorer in scorers])
    totals = loglinear.totals(full, vector)
    vectors = np.broadcast_to(vector, (len(full), full.features.shape[1]))
    return Ranked(full, weights, vectors, totals, loglinear.ranking(full, totals), tuple(warnings))


def weigh(
    lists: NbestLists,
    scorers: Sequence[Named],
    weights: WeightSet | None,
    external: Sequence[str] = (),
    unknown_feature: UnknownFeature = "error",
) -> tuple[NDArray[np.float64], list[str]]:
    """(F,) the weight of each column of `full_schema`, and what was ignored or assumed.

    Before anything is scored; `external` are the features that score files will add. Without weights, which
    each list then has of its own, what is to rank has 1 here, and lists from Moses have their decoder's total
    as a feature already. Raises as `rescore` does.
    """
    schema = full_schema(lists, scorers, external)
    if weights is None:
        names, warning = ranking_features(schema, lists.source, [scorer.name for scorer in scorers])
        vector, _ = fit(WeightSet(dict.fromkeys(names, (1.0,))), schema, lists.source, scorers, "ignore")
        return vector, [warning]
    weights.check_models({scorer.name: scorer.digest for scorer in scorers})
    vector, ignored = fit(weights, schema, lists.source, scorers, unknown_feature)
    some = ", ".join(ignored[:MOST_NAMES])
    some += f" and {len(ignored) - MOST_NAMES} more" if len(ignored) > MOST_NAMES else ""
    warnings = [f"features without a weight are ignored: {some}"] if ignored else []
    return vector, warnings


def text_of(weights: WeightSet | None, text: str | None = None) -> str:
    """The text pipeline that models are given texts through: `text`, or that of the weights.

    Raises WeightsError for another pipeline than the one that the weights were tuned with or name,
    ConfigError for one that is not known.
    """
    own = weights.text if weights is not None else DEFAULT_PIPELINE
    if text is None:
        return own
    name = get_pipeline(text).name
    if weights is not None and (weights.tuned or own != DEFAULT_PIPELINE):
        weights.check_text(name)
    return name


def only_features(lists: NbestLists, names: Sequence[str]) -> NbestLists:
    """The lists with these features only, in this order; raises FeatureError for one that they lack."""
    blocks = [lists.feature(name) for name in names]
    known = {feature.name: feature for feature in lists.schema}
    return replace(
        lists,
        schema=tuple(known[name] for name in names),
        features=np.concatenate([np.zeros((len(lists.texts), 0)), *blocks], axis=1),
    )


def tunable(lists: NbestLists) -> NbestLists:
    """The lists without decoders' totals: sums of the other features, which a tuner would lean on."""
    return only_features(lists, [f.name for f in tunable_schema(lists.schema)])


def tunable_schema(schema: Sequence[Feature]) -> tuple[Feature, ...]:
    """The features that `tunable` leaves."""
    return tuple(feature for feature in schema if feature.name not in TOTALS)


def with_decoder_total(lists: NbestLists) -> NbestLists:
    """Lists that came from Moses with the decoder's total as a feature; others as they are."""
    records = [record for record in lists.records if isinstance(record, MosesRecord)]
    if len(records) < len(lists.texts) or any(feature.name == DECODER_TOTAL for feature in lists.schema):
        return lists
    return lists.with_feature(DECODER_TOTAL, np.array([record.decoder_total for record in records]))


def ranking_features(schema: Sequence[Feature], source: str, models: Sequence[str]) -> tuple[list[str], str]:
    """What ranks where no weights are given, and the warning that says so; `source` is the lists'.

    The decoder's total, if there is one, and the models. Raises WeightsError where there is neither,
    ConfigError for features without a total: the models alone would rank, and what the decoder found would
    count for nothing.
    """
    total = total_name(schema)
    names = [*([total] if total is not None else []), *models]
    if not names:
        raise WeightsError(
            "no weights, no model and no decoder's total: nothing to rank by",
            where=source,
            expected=f"weights, a model, or a feature {' or '.join(RANKING)}",
            got=", ".join(feature.name for feature in schema) or "no features",
        )
    idle = [f.name for f in schema if f.name not in names and not _is_ours(f.name, models)]
    if idle and total is None:
        raise ConfigError(
            "no weights, and the features have no total: the models alone would rank",
            where=source,
            expected=f"weights (nbest tune finds them), or a feature {' or '.join(RANKING)}",
            got=", ".join(idle),
        )
    warning = f"no weights given: ranked by {' + '.join(names)}"
    if total is None:
        warning += " alone" if len(names) == 1 else " (weight 1 each)"
    else:
        warning += ", untuned: weighed by the spread of each list" if models else " alone"
    if idle:
        warning += f"; not used: {', '.join(idle)}"
    return names, warning


def fit(
    weights: WeightSet,
    schema: Sequence[Feature],
    source: str,
    scorers: Sequence[Named],
    unknown_feature: UnknownFeature,
) -> tuple[NDArray[np.float64], list[str]]:
    """(F,) a weight for each column of `schema`, and the features that were ignored; `source` is the lists'.

    Counts that are added here and totals that decoders add have weight 0 unless the weights name them. So
    have sparse features, where the weights were tuned with some: those are the ones that the tuning data did
    not show. Any other feature without a weight raises WeightsError, or is ignored, as `unknown_feature`
    says.
    """
    named = [feature for feature in schema if feature.name in weights.features]
    models = [scorer.name for scorer in scorers]
    unknown = [f.name for f in schema if f.name not in weights.features and not _is_ours(f.name, models)]
    unseen = {feature.name for feature in schema if feature.sparse and weights.sparse}
    wrong = [name for name in unknown if name not in unseen]
    if wrong and unknown_feature == "error":
        raise WeightsError(
            f"features without a weight: {', '.join(map(shorten, wrong))}",
            where=source,
            expected=f"a weight for each ({HOW_TO_WEIGH}), or only {', '.join(weights.features)}",
            got=", ".join(feature.name for feature in schema),
        )
    try:
        given = iter(weights.vector(named).tolist())  # also checks that none is missing, and the widths
    except WeightsError as error:
        raise WeightsError(error.message, where=source, expected=error.expected, got=error.got) from None
    vector = [
        next(given) if feature.name in weights.features else 0.0
        for feature in schema
        for _ in range(feature.width)
    ]
    return np.array(vector, dtype=np.float64), unknown


def changed_weights(
    weights: WeightSet | None, changes: Mapping[str, tuple[float, ...]], scorers: Sequence[Named]
) -> WeightSet:
    """The weights with those of some features added or replaced; without any, the changes alone.

    They count as written by hand. Weights that are bound to models are bound to those that were added too.
    """
    if weights is None:
        return WeightSet(changes)
    bound = {model.name for model in weights.models}
    more = [Model(one.name, one.digest) for one in scorers if one.name in changes and one.name not in bound]
    return replace(
        weights,
        features={**weights.features, **changes},
        models=(*weights.models, *more) if bound else (),
        tuning=None,
    )


def ranking_signature(
    weights: WeightSet | None, models: Mapping[str, str], name: str = "inline", text: str | None = None
) -> str:
    """Everything the numbers depend on: models (name -> digest), weights by content, texts, precision.

    `weights` None stands for untuned ones; `name` is what the weights are called.
    """
    which = f"untuned:spread:{SCALE:g}"
    if weights is not None:
        which = f"{name}:sha256:{sha256_hex(dump_weights(weights).encode())}"
    parts = {"weights": which, "precision": precision_of(models.values()), "text": text_of(weights, text)}
    return signature({**models, **parts})


def _is_ours(name: str, models: Sequence[str]) -> bool:
    """Whether a feature needs no weight: a decoder's total, or a count that came with the models."""
    return name in (*TOTALS, WORD_COUNT) or name in map(oov_name, models)
