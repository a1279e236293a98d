"""A weight set: a weight for each column, bound to what it was tuned with.

It names the models by digest, the text pipeline, and the tuning data by hash. On disk it is JSON:

    {"format": "nbest-weights/1", "features": {"LM0": 0.5, "TranslationModel0": [0.1, 0.2], "small": 1.2},
     "models": [{"name": "small", "digest": "sha256:..."}], "text": "raw", "tuned": true,
     "tuning": {"metric": "bleu", "signature": "...", "score": 40.9, "lists_sha256": "...",
                "references_sha256": "...", "optimizer": "mert", "restarts": 20, "seed": 1}}

``"sparse": [...]`` names features that lists need not have.
"""

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbest.errors import WeightsError, shorten
from nbest.files import STDIO, read_lines, write_whole
from nbest.strict_json import StrictJson, pointer
from rescoring.nbest import Feature, NbestLists
from rescoring.scorer import Scorer
from rescoring.text import DEFAULT_PIPELINE

FORMAT = "nbest-weights/1"


@dataclass(frozen=True)
class Model:
    """A language model by its feature's name and the digest of its files."""

    name: str
    digest: str


@dataclass(frozen=True)
class Tuning:
    """How and on what weights were tuned; hashes are hexadecimal sha256.

    runs  the scores of all runs, where there were several and these weights are the best one's
    """

    metric: str
    signature: str
    score: float
    lists_sha256: str
    references_sha256: str
    optimizer: str
    restarts: int
    seed: int
    runs: tuple[float, ...] = ()


@dataclass(frozen=True)
class WeightSet:
    """Weights by feature, and what they are bound to.

    features  name -> one weight for each column of the feature, in the order of the columns
    models    the language models among the features; none: the weights are bound to no models
    text      the text pipeline that models were given
    tuning    how they were tuned; None for weights written by hand
    sparse    features that lists need not have: absent, they are 0, as in Moses
    """

    features: Mapping[str, tuple[float, ...]]
    models: tuple[Model, ...] = ()
    text: str = DEFAULT_PIPELINE
    tuning: Tuning | None = None
    sparse: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.features:
            raise WeightsError("no weights", expected="at least one feature with its weight", got="none")
        for name, values in self.features.items():
            if not values:
                raise WeightsError(f"feature {shorten(name)} has no weight", expected="at least one", got="0")
            bad = [value for value in values if not math.isfinite(value)]
            if bad:
                raise WeightsError(
                    f"weight of {shorten(name)} is not finite", expected="a finite number", got=str(bad[0])
                )
        names = [model.name for model in self.models]
        if len(set(names)) != len(names):
            raise WeightsError("a model is named twice", expected="each model once", got=", ".join(names))
        if unknown := [name for name in self.sparse if name not in self.features]:
            raise WeightsError(
                f"sparse features without a weight: {_listed(unknown)}", expected=_listed(self.features)
            )
        strangers = [name for name in names if name not in self.features]
        if strangers:
            raise WeightsError(
                f"models without a weight: {_listed(strangers)}",
                expected="a feature of the same name for each model",
                got=_listed(self.features),
            )

    @property
    def tuned(self) -> bool:
        """Whether an optimizer made these weights; False for weights written by hand."""
        return self.tuning is not None

    @classmethod
    def from_vector(
        cls,
        vector: NDArray[np.float64],
        schema: Sequence[Feature],
        models: Iterable[Model] = (),
        text: str = DEFAULT_PIPELINE,
        tuning: Tuning | None = None,
    ) -> "WeightSet":
        """The weights of columns (F,) as those of the features in `schema`."""
        if vector.shape != (sum(feature.width for feature in schema),):
            raise WeightsError(
                "weight vector does not fit the features",
                expected=f"{sum(feature.width for feature in schema)} weights",
                got=f"shape {vector.shape}",
            )
        values = iter(vector.tolist())
        features = {feature.name: tuple(next(values) for _ in range(feature.width)) for feature in schema}
        sparse = tuple(feature.name for feature in schema if feature.sparse)
        return cls(features, tuple(models), text, tuning, sparse)

    def vector(self, schema: Sequence[Feature]) -> NDArray[np.float64]:
        """(F,) a weight for each column; raises WeightsError unless names and widths are the same.

        Only sparse features may be missing from the schema.
        """
        self._check_features(schema)
        return np.array([w for feature in schema for w in self.features[feature.name]], dtype=np.float64)

    def check(self, lists: NbestLists, scorers: Sequence[Scorer] = (), text: str = DEFAULT_PIPELINE) -> None:
        """Raises WeightsError, naming both sides, unless features, models and text pipeline are these.

        `lists` have all their features already, those of the `scorers` too.
        """
        self.check_text(text)
        self.check_models({scorer.name: scorer.digest for scorer in scorers})
        self.check_features(lists)

    def check_text(self, text: str) -> None:
        """Raises WeightsError where another text pipeline is used."""
        if text != self.text:
            raise WeightsError("another text pipeline", expected=repr(self.text), got=repr(text))

    def check_models(self, digests: Mapping[str, str]) -> None:
        """Raises WeightsError unless the models (name -> digest) are those of these weights.

        Weights that name no models (written by hand) go with any.
        """
        if not self.models:
            return
        wanted = {model.name: model.digest for model in self.models}
        if wanted.keys() != digests.keys():
            raise WeightsError(
                "weights are for other language models",
                expected=f"the models {_listed(wanted)}",
                got=_listed(digests),
            )
        for name, digest in wanted.items():
            if digests[name] != digest:
                one, _, how = digest.partition("+")
                other, _, now = digests[name].partition("+")
                raise WeightsError(
                    f"weights are for another version of the language model {name}"
                    if one != other
                    else f"weights are for scores of the language model {name} that were computed otherwise "
                    f"({how or 'exact'} then, {now or 'exact'} now)",
                    expected=digest,
                    got=digests[name],
                )

    def check_features(self, lists: NbestLists) -> None:
        """Raises WeightsError unless the lists have these features with these widths."""
        self._check_features(lists.schema, lists.source)

    def _check_features(self, schema: Sequence[Feature], where: str | None = None) -> None:
        widths = {feature.name: feature.width for feature in schema}
        missing = [name for name in self.features if name not in widths and name not in self.sparse]
        unknown = [name for name in widths if name not in self.features]
        if missing or unknown:
            parts = [f"the lists lack {_listed(missing)}"] if missing else []
            parts += [f"the weights lack {_listed(unknown)}"] if unknown else []
            raise WeightsError(
                f"weights and lists have different features: {'; '.join(parts)}",
                where=where,
                expected=_listed(self.features),
                got=_listed(widths),
            )
        for name, values in self.features.items():
            if len(values) != widths.get(name, len(values)):
                raise WeightsError(
                    f"feature {shorten(name)} has another width",
                    where=where,
                    expected=f"{len(values)} values, as there are weights",
                    got=f"{widths[name]} in the lists",
                )


def read_weights(path: str | os.PathLike[str]) -> WeightSet:
    """The weight set in a JSON file; raises WeightsError naming the file and the place in it."""
    name = os.fspath(path)
    text = "\n".join(line for _, line in read_lines(path))
    return parse_weights(text, "<stdin>" if name == STDIO else name)


def write_weights(weights: WeightSet, path: str | os.PathLike[str]) -> None:
    """Write the file whole or not at all."""
    data = dump_weights(weights).encode()
    with write_whole(path) as stream:
        stream.write(data)


def parse_weights(text: str, where: str = "<memory>") -> WeightSet:
    """As `read_weights`, from the text of a file; `where` stands in error messages."""
    read = StrictJson(where, WeightsError)
    optional = ("models", "text", "sparse", "tuned", "tuning")
    top = read.mapping(read.parse(text), "", {"format", "features"}, optional)
    if top["format"] != FORMAT:
        raise read.wrong("/format", "not a weight set that is known here", FORMAT, top["format"])
    features = read.mapping(top["features"], "/features")
    models = read.sequence(top.get("models", []), "/models")
    tuning = _tuning(read, top["tuning"]) if "tuning" in top else None
    if "tuned" in top and read.boolean(top["tuned"], "/tuned") != (tuning is not None):
        raise read.wrong(
            "/tuned", "tuned weights say how, others do not", "true with /tuning, else false", top["tuned"]
        )
    pipeline = read.string(top.get("text", DEFAULT_PIPELINE), "/text")
    columns = {name: _weights(read, values, pointer("/features", name)) for name, values in features.items()}
    names = read.sequence(top.get("sparse", []), "/sparse")
    sparse = tuple(read.string(name, f"/sparse/{k}") for k, name in enumerate(names))
    bound = tuple(_model(read, model, f"/models/{k}") for k, model in enumerate(models))
    try:
        return WeightSet(columns, bound, pipeline, tuning, sparse)
    except WeightsError as error:
        raise WeightsError(error.message, where=where, expected=error.expected, got=error.got) from None


def dump_weights(weights: WeightSet) -> str:
    """The text of the weight set's file; `parse_weights` gives back an equal one."""
    content: dict[str, Any] = {
        "format": FORMAT,
        "features": {
            name: values[0] if len(values) == 1 else list(values) for name, values in weights.features.items()
        },
        "models": [asdict(model) for model in weights.models],
        "text": weights.text,
        "tuned": weights.tuned,
    }
    if weights.sparse:
        content["sparse"] = list(weights.sparse)
    if weights.tuning is not None:
        content["tuning"] = asdict(weights.tuning)
        if not weights.tuning.runs:
            del content["tuning"]["runs"]
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _weights(read: StrictJson, content: Any, at: str) -> tuple[float, ...]:
    if not isinstance(content, list):
        return (read.number(content, at),)
    return tuple(read.number(value, f"{at}/{k}") for k, value in enumerate(content))


def _model(read: StrictJson, content: Any, at: str) -> Model:
    block = read.mapping(content, at, {"name", "digest"})
    return Model(read.string(block["name"], f"{at}/name"), read.string(block["digest"], f"{at}/digest"))


def _tuning(read: StrictJson, content: Any) -> Tuning:
    block = read.mapping(content, "/tuning", {field.name for field in fields(Tuning)} - {"runs"}, ("runs",))
    runs = read.sequence(block.get("runs", []), "/tuning/runs")
    at = {name: f"/tuning/{name}" for name in block}
    return Tuning(
        metric=read.string(block["metric"], at["metric"]),
        signature=read.string(block["signature"], at["signature"]),
        score=read.number(block["score"], at["score"]),
        lists_sha256=read.string(block["lists_sha256"], at["lists_sha256"]),
        references_sha256=read.string(block["references_sha256"], at["references_sha256"]),
        optimizer=read.string(block["optimizer"], at["optimizer"]),
        restarts=read.integer(block["restarts"], at["restarts"]),
        seed=read.integer(block["seed"], at["seed"]),
        runs=tuple(read.number(score, f"/tuning/runs/{k}") for k, score in enumerate(runs)),
    )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(shorten, names)) or "none"
