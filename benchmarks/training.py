"""Words a second of training: each system, side by side with a plain torch loop, on the same batches.

    python benchmarks/training.py --out benchmarks/results

The plain loop is what a good user of torch writes: nn.Embedding, nn.LSTM, nn.Linear, cross_entropy, dropout,
clipping, SGD; with --bf16 it runs, and every system trains, in that precision too (the loop by autocast).
Every contender is a process of its own; they run in turn, a few steps each, round after round, so that what
else the machine does meets all of them. Figures are medians over rounds; a ratio is the median of the rounds'
own ratios. The machine has to be idle: above the load limit only --force runs.
"""

import argparse
import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import harness
import numpy as np

from nbest.files import write_whole

PLAIN = "plain torch"
Steps = Callable[[int], int]  # so many optimiser steps -> tokens


@dataclass(frozen=True)
class Setting:
    """What is the same for all contenders."""

    vocabulary_size: int
    hidden_size: int
    columns: int
    steps: int
    dropout: float
    threads: int


def main() -> None:
    """Measure and write one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--systems", nargs="+", default=["lstm", "belm", "bllm", "slim", "sparse"])
    parser.add_argument("--bf16", action="store_true", help="each in bf16 too")
    parser.add_argument("--vocabulary-size", type=int, default=10_000)
    parser.add_argument("--hidden-size", type=int, default=500)
    parser.add_argument("--columns", type=int, default=64)
    parser.add_argument("--steps", type=int, default=35, help="tokens of each column in a batch")
    parser.add_argument("--dropout", type=float, default=0.5)
    parser.add_argument("--batches", type=int, default=4, help="optimiser steps a round")
    harness.add_options(parser, rounds=15)
    arguments = parser.parse_args()
    made = harness.begin(arguments)
    setting = Setting(
        arguments.vocabulary_size,
        arguments.hidden_size,
        arguments.columns,
        arguments.steps,
        arguments.dropout,
        arguments.threads,
    )
    precisions = ("fp32", "bf16") if arguments.bf16 else ("fp32",)
    measured = measure(setting, arguments.systems, precisions, arguments.rounds, arguments.batches)
    document = {
        "made": made,
        "setting": asdict(setting) | {"rounds": arguments.rounds, "batches": arguments.batches},
        "contenders": summary(measured),
    }
    arguments.out.mkdir(parents=True, exist_ok=True)
    with write_whole(arguments.out / "training.json") as stream:
        stream.write((json.dumps(document, indent=1) + "\n").encode())
    for name, row in document["contenders"].items():
        print(f"{name:18} {row['words_per_second']:8.0f} words/s  {row['ratio_to_plain']:5.2f} x plain")


def summary(measured: dict[str, list[float]]) -> dict[str, dict[str, Any]]:
    """Medians and ratios of words a second, round by round."""
    return {
        name: {
            "words_per_second": round(statistics.median(values), 1),
            "ratio_to_plain": round(harness.median_ratio(values, measured[PLAIN]), 3),
            "rounds": [round(value, 1) for value in values],
        }
        for name, values in measured.items()
    }


def measure(
    setting: Setting, systems: Sequence[str], precisions: Sequence[str], rounds: int, batches: int
) -> dict[str, list[float]]:
    """Words a second of every contender in every round."""
    contenders = {}
    for precision in precisions:
        suffix = "" if precision == "fp32" else f", {precision}"
        contenders[PLAIN + suffix] = harness.Contender(plain_loop, (setting, precision))
        for system in systems:
            contenders[system + suffix] = harness.Contender(our_trainer, (setting, system, precision))
    found = harness.side_by_side(contenders, batches, rounds=rounds, threads=setting.threads)
    return {name: [round_.result / round_.seconds for round_ in rounds] for name, rounds in found.items()}


def plain_loop(setting: Setting, precision: str) -> Steps:
    """torch's own modules, as its word language model example has them."""
    import torch
    from torch import nn

    torch.manual_seed(1)
    v, h, b, t = setting.vocabulary_size, setting.hidden_size, setting.columns, setting.steps

    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(v, h)
            self.lstm = nn.LSTM(h, h)
            self.output = nn.Linear(h, v, bias=False)
            self.drop = nn.Dropout(setting.dropout)

        def forward(self, ids: torch.Tensor, state: Any) -> Any:
            hidden, state = self.lstm(self.drop(self.embedding(ids)), state)
            return self.output(self.drop(hidden)), state

    model = Plain().train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    ids = torch.from_numpy(words(setting).astype(np.int64)).view(b, -1).t().contiguous()  # (length, B)
    state = (torch.zeros(1, b, h), torch.zeros(1, b, h))
    place, total = 0, 0.0

    def run(count: int) -> int:
        nonlocal state, place, total
        for _ in range(count):
            if place + t + 1 > len(ids):
                place = 0
            inputs, targets = ids[place : place + t], ids[place + 1 : place + t + 1]
            place += t
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                logits, after = model(inputs, state)
                loss = nn.functional.cross_entropy(logits.view(-1, v), targets.reshape(-1))
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), 0.25)
            optimizer.step()
            state = tuple(part.detach() for part in after)
            total += loss.item()
        return count * b * t

    return run


def our_trainer(setting: Setting, system: str, precision: str) -> Steps:
    """The trainer as `nbest train` runs it, step by step."""
    from models.training.ingredients import Texts
    from models.training.recipe import make_recipe
    from models.training.trainer import Trainer

    held = TemporaryDirectory()
    folder = Path(held.name)
    text = folder / "text.txt"
    names = np.char.add("w", words(setting).astype(str))
    text.write_text("\n".join(" ".join(line) for line in np.array_split(names, len(names) // 20)) + "\n")
    recipe = make_recipe(
        {
            "system": system,
            "precision": precision,
            "hidden_size": setting.hidden_size,
            "state": "stream",
            "columns": setting.columns,
            "steps": setting.steps,
            "learning_rate": 1.0,
            "clip": 0.25,
            "dropout": setting.dropout,
            "input_dropout": setting.dropout,
        }
    )
    trainer = Trainer(recipe, Texts(text, text), folder / "model")
    batches = trainer.batches()

    def run(count: int, _held: TemporaryDirectory[str] = held) -> int:
        nonlocal batches
        tokens = 0
        while count:
            batch = next(batches, None)
            if batch is None:
                batches = trainer.batches()
            elif len(batch.inputs) == setting.steps:  # not the short one at the end
                tokens += trainer.step(batch)[1]
                count -= 1
        return tokens

    return run


def words(setting: Setting) -> np.ndarray:
    """Ids of a text as long as twenty batches: every word, and Zipf's law."""
    random = np.random.default_rng(1)
    v = setting.vocabulary_size - 3  # </s>, <unk> and <s> are the trainer's own
    length = max(2 * v, 20 * setting.columns * setting.steps)
    weights = 1 / np.arange(1, v + 1)
    drawn = random.choice(v, size=length - v, p=weights / weights.sum())
    ids = random.permutation(np.concatenate([np.arange(v), drawn]))
    return ids[: len(ids) // setting.columns * setting.columns]


if __name__ == "__main__":
    main()
