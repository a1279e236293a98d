"""docs/reference/ from the docstrings and the commands' help: `python scripts/reference.py` writes it.

`--check` changes nothing and fails where a page says something else; the tests do that. Only names that a
page lists are public; their words are those of the code, read without importing it.
"""

import ast
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parent.parent
PAGES_OF = ROOT / "docs/reference"
SOURCES = (ROOT, ROOT / "clients/python")
WIDTH = 100


@dataclass(frozen=True)
class Page:
    """A page: its title, what it is for, and names, ``module:name``."""

    title: str
    about: str
    names: Sequence[str]


PAGES: Mapping[str, Page] = {
    "lists": Page(
        "Lists in and out",
        "Files and directories of every format as `NbestLists`, and back; [formats.md](../formats.md) says "
        "what each holds.",
        (
            "rescoring.formats:read_nbest",
            "rescoring.formats:open_blocks",
            "rescoring.formats:write_nbest",
            "rescoring.formats:write_one_best",
            "rescoring.nbest:NbestLists",
            "rescoring.nbest:Feature",
            "rescoring.features:add_external",
            "rescoring.text:get_pipeline",
        ),
    ),
    "models": Page(
        "Language models",
        "Opening, scoring, training and shrinking models. These import torch.",
        (
            "models.catalog:names",
            "models.catalog:resolve",
            "models.catalog:open_scorer",
            "models.scoring.scorer:LanguageModelScorer",
            "models.checkpoint:load",
            "models.checkpoint:save",
            "models.checkpoint:Checkpoint",
            "models.checkpoint:ModelCard",
            "models.info:describe",
            "models.training.evaluation:perplexity",
            "models.training.recipe:read_recipe",
            "models.training.recipe:Recipe",
            "models.training.trainer:Trainer",
            "models.compression:compress",
        ),
    ),
    "systems": Page(
        "Systems",
        "What `nbest train --system NAME --option NAME=VALUE` and the `[options]` of a recipe may say: the "
        "keyword arguments below. `hidden_size`, `layers` and the vocabulary have options of their own.",
        (
            "models.architectures:lstm",
            "models.architectures:belm",
            "models.architectures:bllm",
            "models.architectures:slim",
            "models.architectures:hashnet",
            "models.architectures:projected",
            "models.architectures:sparse",
            "models.architectures:low_rank",
            "models.architectures:tensor_train",
            "models.architectures:Options",
            "models.architectures:MoreOptions",
        ),
    ),
    "rescoring": Page(
        "Rescoring",
        "Lists, scorers and weights in, a ranking out. Nothing here imports torch.",
        (
            "rescoring.pipeline:rescore",
            "rescoring.pipeline:Ranked",
            "rescoring.pipeline:assemble",
            "rescoring.pipeline:tunable",
            "rescoring.pipeline:with_decoder_total",
            "rescoring.untuned:untuned_vectors",
            "rescoring.loglinear:totals",
            "rescoring.loglinear:contributions",
            "rescoring.loglinear:one_best",
            "rescoring.scorer:Scorer",
            "rescoring.scorer:Scores",
            "rescoring.scorer:ScoreArrays",
            "rescoring.consensus:consensus",
            "rescoring.consensus:confidences",
            "rescoring.mixture:MixtureScorer",
            "rescoring.mixture:best_weights",
        ),
    ),
    "weights": Page(
        "Weights and tuning",
        "Weight sets, and the optimizers that find them: counts of a metric and lists in, weights out.",
        (
            "rescoring.weights:WeightSet",
            "rescoring.weights:read_weights",
            "rescoring.weights:write_weights",
            "rescoring.weights:Model",
            "rescoring.weights:Tuning",
            "rescoring.moses_ini:read_moses_weights",
            "rescoring.tuning.mert:tune",
            "rescoring.tuning.risk:tune",
            "rescoring.tuning.mira:tune",
            "rescoring.tuning.grid:search",
            "rescoring.tuning.result:Tuned",
            "rescoring.tuning.merged:merged",
            "rescoring.tuning.fingerprint:tuned_on",
        ),
    ),
    "evaluating": Page(
        "Evaluating",
        "Metrics as counts that add up, corpus scores with intervals, and whether a difference is chance.",
        (
            "rescoring.metrics:get_metric",
            "rescoring.metrics.base:Metric",
            "rescoring.metrics.base:Report",
            "rescoring.formats.references:read_references",
            "rescoring.evaluation:evaluate",
            "rescoring.evaluation:Evaluation",
            "rescoring.oracle:oracle",
            "rescoring.comparison:compare",
            "rescoring.comparison:Run",
            "rescoring.significance:interval",
            "rescoring.significance:difference_interval",
            "rescoring.significance:paired_test",
        ),
    ),
    "errors": Page(
        "Errors and signatures",
        "One tree of errors for everything; what stands beside every number.",
        ("nbest.errors:NbestError", "nbest.errors:InputError", "nbest.signature:signature"),
    ),
    "client": Page(
        "The client",
        "`nbest_client`, a distribution of its own that needs httpx2 only; "
        "[its README](../../clients/python/README.md) shows it at work. `AsyncClient` has the methods of "
        "`Client`, awaited.",
        (
            "nbest_client.client:Client",
            "nbest_client.calls:RescoreOptions",
            "nbest_client.retries:Retry",
            "nbest_client.values:NbestList",
            "nbest_client.values:Hypothesis",
            "nbest_client.values:Rescored",
            "nbest_client.values:Ranking",
            "nbest_client.values:RankedHypothesis",
            "nbest_client.values:FailedList",
            "nbest_client.values:ListError",
            "nbest_client.values:RescoredText",
            "nbest_client.values:Scored",
            "nbest_client.values:TextScore",
            "nbest_client.values:Evaluation",
            "nbest_client.values:Tuned",
            "nbest_client.values:Converted",
            "nbest_client.values:Models",
            "nbest_client.values:StoredWeights",
            "nbest_client.errors:NbestClientError",
            "nbest_client.errors:ProblemError",
        ),
    ),
}
TREES = {
    "errors": "nbest/errors.py",
    "client": "clients/python/nbest_client/errors.py",
}  # printed in docstrings


def main() -> int:
    """Write the pages, or check them."""
    stale = 0
    made = pages()
    for path in sorted(PAGES_OF.glob("*.md")):
        if path.name not in (*made, "README.md"):
            raise SystemExit(f"docs/reference/{path.name} is no page of scripts/reference.py")
    for name, text in made.items():
        path = PAGES_OF / name
        if "--check" not in sys.argv[1:]:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            click.echo(f"docs/reference/{name} differs from the code: python scripts/reference.py")
            stale = 1
    return stale


def pages() -> dict[str, str]:
    """Every page by the name of its file."""
    return {f"{name}.md": page(name) for name in PAGES} | {"commands.md": commands()}


def page(name: str) -> str:
    """One page of names."""
    this = PAGES[name]
    parts = [f"# {this.title}", this.about]
    for one in this.names:
        module, _, own = one.partition(":")
        parts += described(module, find(module, own))
    if name in TREES:
        parts += [
            "## The tree",
            fenced(docstring(ast.parse((ROOT / TREES[name]).read_text("utf-8"))), "text"),
        ]
    return "\n\n".join(parts) + "\n"


def find(module: str, name: str) -> ast.FunctionDef | ast.ClassDef:
    """The definition of a name; raises SystemExit where there is none, or no docstring."""
    for source in SOURCES:
        path = source / module.replace(".", "/")
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if not file.is_file():
                continue
            for node in ast.parse(file.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
                    return node
    raise SystemExit(f"{module} has no {name}")


def described(module: str, node: ast.FunctionDef | ast.ClassDef) -> Iterator[str]:
    """Heading, signature and docstring; of a class its fields and public methods too."""
    public = module.partition(".")[0] if module.startswith("nbest_client") else module
    yield f"## {public}.{node.name}"
    if isinstance(node, ast.FunctionDef):
        yield fenced(signature(node), "python")
        yield from prose(docstring(node))
        return
    start = next(
        (one for one in node.body if isinstance(one, ast.FunctionDef) and one.name == "__init__"), None
    )
    fields = [one for one in node.body if isinstance(one, ast.AnnAssign) and is_public(one.target)]
    if start is not None:
        yield fenced(signature(start, node.name), "python")
    elif fields:
        body = ",\n    ".join(ast.unparse(one) for one in fields)
        yield fenced(f"{node.name}(\n    {body},\n)", "python")
    yield from prose(docstring(node))
    for one in node.body:
        if not isinstance(one, ast.FunctionDef) or one.name.startswith("_") or ast.get_docstring(one) is None:
            continue
        if any(isinstance(mark, ast.Name) and mark.id == "property" for mark in one.decorator_list):
            kind = kind_of(one.returns) if one.returns else "Any"
            yield f"**`.{one.name}`** (`{kind}`): " + " ".join(prose(docstring(one)))
        else:
            yield f"### {node.name}.{one.name}"
            yield fenced(signature(one), "python")
            yield from prose(docstring(one))


def is_public(target: ast.expr) -> bool:
    """Whether a field is one for callers."""
    return isinstance(target, ast.Name) and not target.id.startswith("_")


def signature(node: ast.FunctionDef, name: str = "") -> str:
    """How a function is called: one line where it fits, else an argument a line."""
    given = [one for one in arguments(node.args) if one not in ("self", "cls")]
    end = f") -> {kind_of(node.returns)}" if node.returns is not None and not name else ")"
    start = f"{name or node.name}("
    line = start + ", ".join(given) + end
    return line if len(line) <= WIDTH else start + "".join(f"\n    {one}," for one in given) + "\n" + end


def arguments(own: ast.arguments) -> Iterator[str]:
    """Each argument as it is written, `*` before those that have to be named."""
    places = [*own.posonlyargs, *own.args]
    for place, default in zip(
        places, [*[None] * (len(places) - len(own.defaults)), *own.defaults], strict=True
    ):
        yield argument(place, default)
    if own.vararg is not None or own.kwonlyargs:
        yield f"*{argument(own.vararg) if own.vararg is not None else ''}"
    for place, default in zip(own.kwonlyargs, own.kw_defaults, strict=True):
        yield argument(place, default)
    if own.kwarg is not None:
        yield f"**{argument(own.kwarg)}"


def argument(one: ast.arg, default: ast.expr | None = None) -> str:
    """``name: type = default``."""
    kind = "" if one.annotation is None else f": {kind_of(one.annotation)}"
    return one.arg + kind + ("" if default is None else f" = {ast.unparse(default)}")


def kind_of(annotation: ast.expr) -> str:
    """As it is written, without the quotes of a name that is only there for the type checker."""
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        return annotation.value
    return ast.unparse(annotation)


def docstring(node: ast.FunctionDef | ast.ClassDef | ast.Module) -> str:
    """Its docstring; a public name without one is an error."""
    text = ast.get_docstring(node)
    if text is None:
        raise SystemExit(f"no docstring: {getattr(node, 'name', node)}")
    return text


def prose(text: str) -> Iterator[str]:
    """The paragraphs; what is set in columns stays so."""
    for paragraph in text.split("\n\n"):
        columns = re.search(r"^ *\S+(, \S+)*( [a-z]+)?  +\S|^    ", paragraph, re.MULTILINE)
        yield fenced(paragraph, "text") if columns else marked(" ".join(paragraph.split("\n")))


def marked(text: str) -> str:
    """As Markdown: rst's double quotes are code, tags are no HTML."""
    text = text.replace("``", "`")
    pieces = text.split("`")
    return "`".join(re.sub(r"([<*_])", r"\\\1", one) if k % 2 == 0 else one for k, one in enumerate(pieces))


def fenced(text: str, language: str) -> str:
    """A block of text as it is."""
    return f"```{language}\n{text}\n```"


def commands() -> str:
    """The help of every command and of what stands below it."""
    from service.cli.main import nbest

    parts = ["# Commands", "What `nbest COMMAND --help` prints."]
    parts += helps(
        nbest, click.Context(nbest, info_name="nbest", terminal_width=WIDTH, max_content_width=WIDTH)
    )
    return "\n\n".join(parts) + "\n"


def helps(command: click.Command, context: click.Context) -> Iterator[str]:
    """The help of a command, then of those below it."""
    yield f"## {context.command_path}"
    yield fenced(command.get_help(context).rstrip(), "text")
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from helps(
                below,
                click.Context(
                    below,
                    context,
                    info_name=name,
                    terminal_width=WIDTH,
                    max_content_width=WIDTH,
                ),
            )


if __name__ == "__main__":
    sys.exit(main())
