"""nbest info: what is in a model, part by part."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from service.cli.options import as_json

if TYPE_CHECKING:
    from models.info import ModelInfo


@click.command()
@click.argument("model")
@as_json
def info(model: str, as_json: bool) -> None:
    """Show the parts of MODEL (a directory, or a shipped model's name), their sizes, and its card.

    All sizes are in bytes. "bytes" counts as the papers do: weights and bits alone; "beside them" is what the
    file holds more of each part, scales and mapping tables.
    """
    from models import catalog, checkpoint
    from models.info import describe

    found = describe(checkpoint.load(catalog.resolve(model)))
    if as_json:
        click.echo(json.dumps(_document(found), indent=1, ensure_ascii=False))
    else:
        click.echo("\n".join([*_table(found), "", *_card(found)]))


def _document(found: "ModelInfo") -> dict[str, object]:
    return {
        "path": str(found.path),
        "digest": found.digest,
        "parameters": found.parameters,
        "paper_bytes": found.paper_bytes,
        "weights_bytes": found.weights_bytes,
        "vocabulary_bytes": found.vocabulary_bytes,
        "other_bytes": found.other_bytes,
        "resident_bytes": found.resident_bytes,
        "parts": [
            {
                "name": part.name,
                "kind": part.kind,
                "shape": list(part.shape),
                "parameters": part.parameters,
                "paper_bytes": part.paper_bytes,
                "extra_bytes": part.extra_bytes,
                "resident_bytes": part.resident_bytes,
            }
            for part in found.parts
        ],
        "config": found.config.model_dump(mode="json"),
        "card": found.card.model_dump(mode="json"),
    }


def _table(found: "ModelInfo") -> list[str]:
    rows = [("part", "kind", "shape", "parameters", "bytes", "beside them", "in memory")]
    rows += [
        (
            part.name,
            part.kind,
            " x ".join(map(str, part.shape)),
            f"{part.parameters:,}",
            _bytes(part.paper_bytes),
            _bytes(part.extra_bytes),
            _bytes(part.resident_bytes),
        )
        for part in found.parts
    ]
    extra = sum(part.extra_bytes for part in found.parts)
    total = ("all", "", "", f"{found.parameters:,}", _bytes(found.paper_bytes), _bytes(extra))
    rows.append((*total, _bytes(found.resident_bytes)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if k < 3 else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    rule = "-" * max(map(len, lines))
    return [lines[0], rule, *lines[1:-1], rule, lines[-1]]


def _card(found: "ModelInfo") -> list[str]:
    card = found.card
    disk = f"{_bytes(found.weights_bytes)} weights, {_bytes(found.vocabulary_bytes)} vocabulary"
    facts: list[tuple[str, str]] = [
        ("model", card.name),
        ("about", card.description),
        ("system", _system(found)),
        *_origin(card.training),
        ("path", str(found.path)),
        ("digest", found.digest),
        ("bytes on disk", f"{disk}, {_bytes(found.other_bytes)} other"),
        ("licence", card.licence or "none stated"),
        ("attribution", "; ".join(card.attribution)),
        ("corpora", "; ".join(", ".join(f"{k} {v}" for k, v in one.items()) for one in card.corpora)),
        *((f"perplexity, {name}", f"{value:.2f}") for name, value in card.perplexity.items()),
        *((f"OOV rate, {name}", f"{value:.2%}") for name, value in card.oov_rate.items()),
        *((name, figure(value)) for name, value in card.measured.items()),
        ("limits", card.limits),
    ]
    shown = [(name, value) for name, value in facts if value]
    width = max(len(name) for name, _ in shown)
    return [f"{name.ljust(width)}  {value}" for name, value in shown]


def _system(found: "ModelInfo") -> str:
    config = found.config
    return f"{config.system}, {config.layers} x {config.hidden_size} cells, {config.vocabulary_size:,} words"


def _origin(training: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """How the model was made, as far as its card knows."""
    if {"epochs", "sentences", "loss"} <= training.keys():
        epochs, sentences = training["epochs"], training["sentences"]
        yield "trained", f"loss {training['loss']}, at most {epochs} epochs of {sentences:,} sentences"
    for role, label in (("init", "started from"), ("teacher", "teacher")):
        if role in training:
            yield label, f"{training[role]['name']} ({training[role]['digest']})"
    for entry in training.get("compression", []):
        how = "".join(f" {entry[name]}" for name in ("share", "rank") if name in entry)
        yield "compressed", f"{entry['method']}{how}, from {entry['source']} ({entry['source_digest']})"


def figure(value: float) -> str:
    """A measured number: whole where it is, else to four digits."""
    return f"{value:,.0f}" if value == int(value) or abs(value) >= 1000 else f"{value:.4g}"


def _bytes(count: float) -> str:
    return f"{count:,.0f}"
