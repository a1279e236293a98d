"""Perplexity against the bytes of the weight file, all models of a corpus in one picture; SVG by hand.

Models that anybody has without the papers (dense, 8-bit, low-rank word vectors) are the line to beat: at each
size the best of those that are not larger. What lies below and left of it is worth its trouble. Colours are
those of the page that shows it, where that is dark too.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 460, 62, 24, 30, 46
FINE = (1, 1.1, 1.2, 1.4, 1.6, 1.8, 2, 2.2, 2.4, 2.6, 2.8, 3, 3.5, 4, 5, 6, 8)  # ticks of a decade
FAR = 1.6  # times the best perplexity
PLAIN_SYSTEMS = {"lstm", "projected"}
PLAIN_KINDS = {"dense", "quantized", "low_rank", "low_rank, in bytes"}
CORPORA = {  # which perplexity is drawn, and what it is called
    "ptb": ("test, stream state", "Penn Treebank, test"),
    "wikitext-2": ("test, stream state", "WikiText-2, test"),
    "captions": ("validation, sentence state", "captions, validation"),
}
STYLE = (
    "text{fill:#333}.line{stroke:#ddd}.plain{stroke:#777;fill:#777}.own{fill:#b5400f}.own-text{fill:#b5400f}"
    "@media(prefers-color-scheme:dark){text{fill:#ddd}.page{fill:#16181d}.line{stroke:#3a3d45}"
    ".plain{stroke:#a0a4ad;fill:#a0a4ad}.own,.own-text{fill:#ff9a6b}}"
)


@dataclass(frozen=True)
class Model:
    """One result: bytes of its weight file and its perplexity; plain ones make the line to beat."""

    name: str
    size: int
    perplexity: float
    is_plain: bool


def models_of(results: Mapping[str, Mapping[str, Any]], corpus: str) -> list[Model]:
    """The results of a corpus, smallest first; names go without the corpus."""
    of, _ = CORPORA[corpus]
    found = [
        Model(
            name.removeprefix(f"{corpus}-"),
            int(result["weights_bytes"]),
            float(result["perplexity"][of]["perplexity"]),
            result["system"] in PLAIN_SYSTEMS and set(result["kinds"]) <= PLAIN_KINDS,
        )
        for name, result in results.items()
        if result["corpus"] == corpus
    ]
    return sorted(found, key=lambda model: (model.size, model.name))


def to_beat(models: Sequence[Model]) -> list[Model]:
    """Plain models that no smaller plain one equals; smallest first."""
    return frontier([model for model in models if model.is_plain])


def frontier(models: Sequence[Model]) -> list[Model]:
    """Models that no smaller one equals; smallest first, as `models` are."""
    best: list[Model] = []
    for model in models:
        if not best or model.perplexity < best[-1].perplexity:
            best.append(model)
    return best


def picture(every: Sequence[Model], title: str) -> str:
    """An SVG document; both axes are logarithmic.

    Names stand where there is room, first those of the best of their size. Models far above the best one are
    named in a line, so that the others are not pressed together.
    """
    most = FAR * min(model.perplexity for model in every)
    models = [model for model in every if model.perplexity <= most]
    far = [f"{model.name} ({model.perplexity:.0f})" for model in every if model.perplexity > most]
    sizes, values = [m.size for m in models], [m.perplexity for m in models]
    x_of = _scale(min(sizes) / 1.25, max(sizes) * 1.25, LEFT, WIDTH - RIGHT)
    y_of = _scale(min(values) / 1.03, max(values) * 1.06, HEIGHT - BOTTOM, TOP)
    body = [*_axes(sizes, values, x_of, y_of)]
    line = to_beat(models)
    if line:
        steps = [f"M{x_of(line[0].size):.1f} {TOP}V{y_of(line[0].perplexity):.1f}"]
        steps += [f"H{x_of(m.size):.1f}V{y_of(m.perplexity):.1f}" for m in line[1:]]
        path = "".join([*steps, f"H{WIDTH - RIGHT}"])
        body.append(f'<path class="plain" d="{path}" style="fill:none" stroke-dasharray="5 3"/>')
    taken = [(x - 5, x + 5, y + 4) for x, y in ((x_of(m.size), y_of(m.perplexity)) for m in models)]
    for model in models:
        x, y = x_of(model.size), y_of(model.perplexity)
        kind = "plain" if model.is_plain else "own"
        label = f"{model.name}: {model.size:,} bytes, perplexity {model.perplexity:.2f}"
        body.append(
            f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="4.5">'
            f"<title>{escape(label)}</title></circle>"
        )
    best = {model.name for model in (*line, *frontier(models))}
    named_first = sorted(models, key=lambda one: one.name not in best)
    body += [_label(one, x_of(one.size), y_of(one.perplexity), taken) for one in named_first]
    if far:
        said = f"above the picture: {', '.join(far)}"
        body.append(f'<text x="{WIDTH - RIGHT}" y="18" text-anchor="end">{escape(said)}</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'font-family="sans-serif" font-size="12"><title>{escape(title)}</title><style>{STYLE}</style>'
        f'<rect class="page" width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>\n'
        + "\n".join(body)
        + "\n</svg>\n"
    )


def _scale(low: float, high: float, first: float, last: float) -> Any:
    return lambda value: first + (last - first) * math.log(value / low) / math.log(high / low)


def _axes(sizes: Sequence[int], values: Sequence[float], x_of: Any, y_of: Any) -> list[str]:
    body = []
    for size in _ticks(min(sizes) / 1.25, max(sizes) * 1.25):
        x = x_of(size)
        body.append(f'<path class="line" d="M{x:.1f} {TOP}V{HEIGHT - BOTTOM}"/>')
        label = f"{size / 1e6:g} MB" if size >= 1e5 else f"{size / 1e3:g} kB"
        body.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 17}" text-anchor="middle">{label}</text>')
    for value in _ticks(min(values) / 1.03, max(values) * 1.06, FINE):
        y = y_of(value)
        body.append(f'<path class="line" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        body.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
    body.append(
        f'<text x="{WIDTH / 2}" y="{HEIGHT - 8}" text-anchor="middle">bytes of the weight file</text>'
    )
    body.append(f'<text x="{LEFT}" y="18">perplexity; dashed: the best plain model that is not larger</text>')
    return body


def _ticks(low: float, high: float, steps: Sequence[float] = (1, 2, 5)) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [round(step * 10.0**d, 9) for d in decades for step in steps if low <= step * 10.0**d <= high]


def _label(model: Model, x: float, y: float, taken: list[tuple[float, float, float]]) -> str:
    """The name beside its point, where it covers no other name; nothing where there is no room."""
    width = 6.4 * len(model.name)
    offsets = (-7, 16, -20, 29, -33, 42, -46, 55, -59, 68)
    places = [(side, dy) for dy in offsets for side in ("start", "end", "middle")]
    for side, dy in places:
        left = x + {"start": 6, "end": -6 - width, "middle": -width / 2}[side]
        free = all(left + width < a or b < left or abs(y + dy - c) > 12 for a, b, c in taken)
        if free and left > LEFT and left + width < WIDTH and TOP + 8 < y + dy < HEIGHT - BOTTOM:
            break
    else:
        return ""
    taken.append((left, left + width, y + dy))
    kind = "" if model.is_plain else ' class="own-text"'
    return f'<text{kind} x="{left:.1f}" y="{y + dy:.1f}">{escape(model.name)}</text>'
