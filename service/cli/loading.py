"""What commands open: language models by name or directory, lists in any format."""

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbest.errors import ConfigError, FeatureError

if TYPE_CHECKING:
    from models.scoring.engine import Precision
    from rescoring.formats import Blocks
    from rescoring.formats.base import BeamSize
    from rescoring.nbest import Feature, NbestLists
    from rescoring.scorer import Named, Scores
    from rescoring.weights import WeightSet
    from service.remote import Server
    from service.scorers import Token, TokenScorer

_NAMED = re.compile(r"([^\s|=:/]+)=(.+)")  # NAME=MODEL


def open_scorers(
    names: Sequence[str],
    *,
    self_normalized: bool = False,
    precision: "Precision" = "fp32",
    device: str = "cpu",
    server: "Server | None" = None,
    digests: Sequence[str] = (),
) -> "list[TokenScorer]":
    """A scorer for each --lm; raises NotFoundError, ModelFileError, or ConfigError for one named twice.

    device   of models of ours: cpu or cuda
    server   where the models are, if not here; `digests` of them, where they are known already
    """
    scorers = [
        open_remote(server, name, digest)
        if server is not None
        else open_scorer(name, self_normalized=self_normalized, precision=precision, device=device)
        for name, digest in zip_longest(names, digests[: len(names)])
    ]
    seen = [scorer.name for scorer in scorers]
    for name in seen:
        if seen.count(name) > 1:
            raise ConfigError(
                "two models have the same name, and would become the same feature",
                where="--lm",
                expected="models of different names, such as --lm NAME=MODEL",
                got=repr(name),
            )
    return scorers


def open_scorer(
    name: str, *, self_normalized: bool = False, precision: "Precision" = "fp32", device: str = "cpu"
) -> "TokenScorer":
    """The scorer of one --lm: mix:SUM, KIND:PATH where such a scorer is installed, else a model of ours.

    Before either there may stand NAME=, unless a path is called so.
    """
    from importlib.metadata import entry_points

    open_part = partial(open_scorer, self_normalized=self_normalized, precision=precision, device=device)
    given = _NAMED.fullmatch(name)
    if given and not Path(name).exists():
        return Renamed(open_part(given[2]), given[1])
    kind, colon, path = name.partition(":")
    if kind == "mix" and colon:
        return _open_mixture(path, open_part)
    for point in entry_points(group="nbest.scorers", name=kind) if colon else ():
        if self_normalized:
            raise ConfigError(
                "only a model trained with NCE can be scored self-normalized",
                where="--self-normalized",
                got=repr(name),
            )
        opened: TokenScorer = point.load()(path)
        return opened
    from models import catalog

    return catalog.open_scorer(name, device=device, self_normalized=self_normalized, precision=precision)


def open_remote(server: "Server", name: str, digest: str | None = None) -> "TokenScorer":
    """The scorer of one --lm that is a model of `server`; raises what the server says, or BusyError."""
    from service.remote import RemoteScorer

    given = _NAMED.fullmatch(name)
    if given:
        return Renamed(RemoteScorer(server, given[2], digest), given[1])
    return RemoteScorer(server, name, digest)


def _open_mixture(text: str, open_part: "Callable[[str], TokenScorer]") -> "TokenScorer":
    """The mixture of ``mix:0.7*small+0.3*kenlm:lm.arpa#50000``, called mix."""
    from rescoring.mixture import MixtureScorer, Part, parse_mixture

    return MixtureScorer(
        [Part(weight, open_part(model), unseen) for weight, model, unseen in parse_mixture(text)]
    )


def check_new_names(lists: "NbestLists | Blocks", scorers: "Sequence[Named]") -> None:
    """Raises FeatureError, before anything is scored, where the lists have a feature of a model's name."""
    names = [feature.name for feature in lists.schema]
    for scorer in scorers:
        if {scorer.name, f"{scorer.name}.oov"} & set(names):
            raise FeatureError(
                f"feature {scorer.name} is there already",
                where=lists.source,
                expected="another name for the model (--lm NAME=MODEL), or --features without it",
                got=", ".join(names),
            )


def say_features(lists: "NbestLists", schema: "Sequence[Feature]") -> None:
    """What takes part, and which tables of a Kaldi directory do not, on standard error."""
    import click

    from rescoring.formats.kaldi import left_out

    named = [one.name if one.width == 1 else f"{one.name} ({one.width} columns)" for one in schema]
    click.echo(f"features {', '.join(named) or 'none'}", err=True)
    if missing := left_out(lists):
        click.echo(f"left out {', '.join(f'{table} ({why})' for table, why in missing)}", err=True)


def read_lists(
    path: str,
    list_format: str | None,
    features: Sequence[str] | None = None,
    words_txt: str | None = None,
    beam_size: "BeamSize | None" = None,
) -> "NbestLists":
    """Lists of any format; `features` chooses among theirs.

    Kaldi's may need `words_txt`, NeMo's need `beam_size`.
    """
    from rescoring.formats import read_nbest
    from rescoring.pipeline import only_features

    if _is_kaldi(path, list_format):  # the choice decides what is read at all
        return read_nbest(path, list_format, columns=features, words_txt=words_txt, beam_size=beam_size)
    _no_words(path, words_txt)
    lists = read_nbest(path, list_format, beam_size=beam_size)
    return lists if features is None else only_features(lists, features)


@contextmanager
def open_lists(
    path: str,
    list_format: str | None,
    features: Sequence[str] | None = None,
    words_txt: str | None = None,
    beam_size: "BeamSize | None" = None,
    **how: Any,
) -> "Iterator[Blocks]":
    """As `read_lists`, block by block: for lists that need not fit into memory; `how` as of `open_blocks`."""
    from dataclasses import replace

    from rescoring.formats import open_blocks
    from rescoring.pipeline import only_features

    if _is_kaldi(path, list_format):
        with open_blocks(
            path, list_format, columns=features, words_txt=words_txt, beam_size=beam_size, **how
        ) as blocks:
            yield blocks
        return
    _no_words(path, words_txt)
    with open_blocks(path, list_format, beam_size=beam_size, **how) as blocks:
        if features is None:
            yield blocks
        else:
            schema = only_features(next(iter(blocks)), features).schema
            yield replace(
                blocks, schema=schema, read=lambda: (only_features(one, features) for one in blocks)
            )


def _is_kaldi(path: str, list_format: str | None) -> bool:
    from rescoring.formats.kaldi import is_kaldi_directory

    return path != "-" and list_format in (None, "kaldi") and is_kaldi_directory(Path(path))


def _no_words(path: str, words_txt: str | None) -> None:
    if words_txt is not None:
        raise ConfigError("word ids are Kaldi's", where="--words", expected="an n-best directory", got=path)


def read_weights_for(path: str, lists: "NbestLists | Blocks") -> "WeightSet":
    """A weight set's JSON, or what a moses.ini has for these lists: told by the first character.

    What of a moses.ini is not used, because lists do not show it, is said on standard error.
    """
    import click
    import numpy as np

    from nbest.files import read_lines
    from rescoring.formats.checks import against_totals
    from rescoring.moses_ini import read_moses_weights
    from rescoring.nbest import NbestLists
    from rescoring.weights import WeightSet, read_weights

    first = next((line for _, line in read_lines(path) if line.strip()), "")
    if first.lstrip().startswith("{"):
        return read_weights(path)
    taken, notes = read_moses_weights(path).for_schema(lists.schema)
    for note in notes:
        click.echo(f"nbest: {path}: {note}", err=True)
    weights = WeightSet(taken)
    some = lists if isinstance(lists, NbestLists) else next(iter(lists))
    vector = [w for one in some.schema for w in taken.get(one.name, (0.0,) * one.width)]
    if said := against_totals(some, np.array(vector)):
        click.echo(f"nbest: warning: {path}: {said}", err=True)
    return weights


class Notices(logging.Handler):
    """What readers and writers log, as lines on standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        """One line a notice."""
        import click

        click.echo(f"nbest: {record.levelname.lower()}: {record.getMessage()}", err=True)


def show_notices() -> None:
    """Warnings of the rooms below reach whoever runs the command."""
    for room in ("rescoring", "models", "nbest"):
        logger = logging.getLogger(room)
        if not any(isinstance(handler, Notices) for handler in logger.handlers):
            logger.addHandler(Notices(logging.WARNING))
            logger.propagate = False


class Renamed:
    """A scorer under the name that the command line gives it."""

    def __init__(self, scorer: "TokenScorer", name: str) -> None:
        self._scorer = scorer
        self._name = name

    @property
    def name(self) -> str:
        """The given one."""
        return self._name

    @property
    def digest(self) -> str:
        """The scorer's."""
        return self._scorer.digest

    def score(self, texts: "Sequence[str]") -> "Scores":
        """As the scorer does."""
        return self._scorer.score(texts)

    def score_tokens(self, texts: "Sequence[str]") -> "Sequence[Sequence[Token]]":
        """As the scorer does."""
        return self._scorer.score_tokens(texts)
