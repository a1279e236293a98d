"""Trains a model and can be killed at any moment: a run taken up again walks the very same path.

The run's folder is ``OUT.training``; it stays until the model is written.
"""

import math
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models import checkpoint
from models.layers.lstm import State
from models.training.averaging import Average, is_non_monotone
from models.training.corpus import Batch, sentence_batches, stream_batches
from models.training.evaluation import perplexity
from models.training.finished import finished_card
from models.training.held_signals import held_signals
from models.training.ingredients import Sources, Texts, gather
from models.training.losses import TrainingLoss
from models.training.memory import keep_large_blocks
from models.training.optimizers import (
    load_optimizer_tensors,
    make_optimizer,
    optimizer_tensors,
    scheduled_rate,
    set_rate,
)
from models.training.penalties import activation_penalty, slowness_penalty
from models.training.recipe import Recipe
from models.training.saved_run import Progress, SavedRun, log_files
from models.training.variable_steps import variable_batches
from models.training.window import Window
from nbest.errors import ConfigError

Report = Callable[[str], None]
STATES = ("sentence", "stream")


class Trainer:
    """One training run."""

    def __init__(
        self,
        recipe: Recipe,
        texts: Texts,
        out: Path,
        *,
        init: Path | None = None,
        teacher: Path | None = None,
        report: Report = lambda _line: None,
        save_seconds: float = 120.0,
        device: str = "cpu",
        card: checkpoint.ModelCard | None = None,
    ) -> None:
        """`init` is a trained model to start from, `teacher` one to learn from beside the text."""
        if out.exists():
            raise ConfigError(f"{out} is there already: remove it, or give another name")
        keep_large_blocks()
        self.out = out
        self.report = report
        self.save_seconds = save_seconds
        self.card = card or checkpoint.ModelCard(name=out.name)
        self.corpora = texts.described()
        sha256 = {text["part"]: text["sha256"] for text in self.corpora}
        self.sources = Sources.load(init, teacher, device)
        report(f"reading {texts.train}")
        self.ingredients = gather(recipe, texts, self.sources, device)
        self.recipe = recipe = self.ingredients.recipe
        self.model, self.dropout = self.ingredients.model, self.ingredients.dropout
        self.saved = SavedRun(
            out.with_name(out.name + ".training"),
            {"recipe": recipe.model_dump(), "sha256": sha256, **self.sources.digests()},
        )
        self.optimizer = make_optimizer(recipe, self.model.parameters())
        self.average = Average(self.model)
        if recipe.averaging == "start":
            self.average.start()
        self.progress = Progress(rate=recipe.learning_rate)
        self.state = self.model.start_state(1)
        for note in self.ingredients.notes:
            report(note)
        words, text = len(self.ingredients.vocabulary), self.ingredients.train
        report(
            f"{recipe.system}: {words} words, hidden size {recipe.hidden_size}, "
            f"{text.sentences} sentences, {text.predictions} tokens an epoch"
        )

    @property
    def loss(self) -> TrainingLoss:
        """That of the running epoch."""
        last = self.progress.epoch >= self.recipe.epochs - self.recipe.full_epochs
        return self.ingredients.last_loss if last else self.ingredients.loss

    def run(self) -> None:
        """Train to the end, from the last saved state where there is one, and write the model.

        Raises ConfigError where another run is at work in the folder.
        """
        with self.saved.locked():
            self._run()

    def _run(self) -> None:
        if not self._resume() and self.sources.init is not None:
            self.progress.start = self._validate()
            self.report(f"before training: validation perplexity {self.progress.start:.2f}")
        while self.progress.epoch < self.recipe.epochs and not self._is_over():
            self._epoch()
        self._finish()

    def _is_over(self) -> bool:
        least = self.recipe.minimum_rate * self.recipe.learning_rate
        too_slow = self.recipe.schedule == "halve" and self.progress.rate < least
        return self.progress.ended or too_slow

    def batches(self) -> Iterator[Batch]:
        """The batches of the running epoch, from its beginning."""
        recipe, corpus, vocabulary = self.recipe, self.ingredients.train, self.ingredients.vocabulary
        random = np.random.default_rng([recipe.seed, self.progress.epoch])
        if recipe.state == "sentence":
            size, longest = recipe.tokens_per_batch, recipe.longest
            return sentence_batches(corpus, vocabulary, tokens_per_batch=size, longest=longest, random=random)
        steps = corpus.predictions if recipe.variable_steps else recipe.steps
        batches = stream_batches(corpus, vocabulary, columns=recipe.columns, steps=steps, random=random)
        return variable_batches(next(batches), recipe.steps, random) if recipe.variable_steps else batches

    def _epoch(self) -> None:
        progress = self.progress
        clock = last_save = last_report = time.monotonic()
        tokens_then = progress.epoch_tokens
        for batch in islice(self.batches(), progress.batches_done, None):
            whole = False
            try:
                with held_signals():
                    nats, count = self.step(batch)
                    progress.epoch_nats += nats
                    progress.epoch_tokens += count
                    progress.batches_done += 1
                    whole = True
            except BaseException:
                if whole:  # whoever stops the run stops it here
                    progress.seconds += time.monotonic() - clock
                    self._save()
                    self.report("stopped: the same command goes on from here")
                raise
            now = time.monotonic()
            progress.seconds += now - clock
            clock = now
            if now - last_report >= 10:
                speed = (progress.epoch_tokens - tokens_then) / (now - last_report)
                self._report_progress(speed)
                last_report, tokens_then = now, progress.epoch_tokens
            if now - last_save >= self.save_seconds:
                self._save()
                last_save = clock = time.monotonic()
        self._end_epoch()

    def step(self, batch: Batch) -> tuple[float, int]:
        """One optimiser step: (nats, tokens)."""
        model, dropout = self.model, self.dropout
        self._set_rate(batch)
        model.train()
        window = Window.of(batch, model.device)
        state = model.start_state(window.columns) if window.fresh else self.state
        self.optimizer.zero_grad()
        low = self.recipe.precision == "bf16"
        with torch.autocast(model.device.type, torch.bfloat16, enabled=low):
            raw, after = model(window.inputs, state, dropout)  # (T, B, O)
            dropped = dropout.drop(raw, dropout.outputs)
            flat = window.flat(dropped)  # (N, O)
            nats, gradient = self.loss.backward(flat, window, 1 / len(flat))
        self._check_finite(nats)
        penalties = self._penalties(raw, dropped, window)
        torch.autograd.backward([flat, *penalties], [gradient, *map(torch.ones_like, penalties)])
        torch.nn.utils.clip_grad_norm_(model.parameters(), self.recipe.clip)
        self.optimizer.step()
        model.after_step()
        self.average.add_step()
        self.state = after.detach()
        return nats, len(flat)

    def _set_rate(self, batch: Batch) -> None:
        recipe, progress = self.recipe, self.progress
        done = progress.epoch + progress.epoch_tokens / self.ingredients.train.predictions
        progress.rate = scheduled_rate(recipe, done, progress.rate)
        share = len(batch.inputs) / recipe.steps if recipe.variable_steps else 1.0
        set_rate(self.optimizer, progress.rate * share)

    def _penalties(self, raw: Tensor, dropped: Tensor, window: Window) -> list[Tensor]:
        """AR and TAR, where the recipe has them."""
        recipe, found = self.recipe, []
        if recipe.ar_alpha:
            found.append(recipe.ar_alpha * activation_penalty(dropped, window.mask))
        if recipe.tar_beta:
            found.append(recipe.tar_beta * slowness_penalty(raw, window.mask))
        return found

    def _check_finite(self, loss: float) -> None:
        if not math.isfinite(loss):
            rate = f"learning rate {self.progress.rate}"
            raise ConfigError("training diverged: the loss is not finite", got=rate)

    def _report_progress(self, words_per_second: float) -> None:
        progress, tokens = self.progress, self.ingredients.train.predictions
        share = progress.epoch_tokens / tokens
        left = (self.recipe.epochs - progress.epoch - share) * tokens
        self.report(
            f"epoch {progress.epoch + 1}/{self.recipe.epochs} {share:4.0%}  "
            f"training {self.loss.measure} {self._training_loss():.2f}  "
            f"{words_per_second:.0f} words/s  rate {progress.rate:.3g}  "
            f"at most {left / max(words_per_second, 1e-9) / 60:.0f} min left"
        )

    def _training_loss(self) -> float:
        return self.loss.shown(self.progress.epoch_nats / max(1, self.progress.epoch_tokens))

    def _end_epoch(self) -> None:
        progress, recipe = self.progress, self.recipe
        begun = time.monotonic()
        earlier = [float(row["validation_perplexity"]) for row in progress.log]
        with self.average.in_place():
            valid = self._validate()
            better = valid < progress.best
            if better:
                self.saved.save_best(self.model.state_dict())
        progress.log.append(self._row(valid))
        self.report(
            f"epoch {progress.epoch + 1}: validation perplexity {valid:.2f}"
            f"{' (best)' if better else ''}  [{time.monotonic() - begun:.0f} s]"
        )
        progress.best = min(valid, progress.best)
        progress.bad_epochs = 0 if better else progress.bad_epochs + 1
        if recipe.schedule == "halve" and progress.bad_epochs >= recipe.patience:
            progress.rate /= 2
            progress.bad_epochs = 0
        if recipe.averaging != "none" and is_non_monotone(earlier, valid, recipe.non_monotone):
            self._no_further()
        progress.epoch += 1
        progress.batches_done = progress.epoch_tokens = 0
        progress.epoch_nats = 0.0
        self._save()

    def _no_further(self) -> None:
        """Validation does not improve: average from here on, or end a run that does from its start."""
        if self.recipe.averaging == "start":
            self.progress.ended = True
        elif not self.average.is_on:
            self.average.start()
            self.report("from here on the weights are averaged")

    def _validate(self) -> float:
        """Perplexity of the weights as they are."""
        recipe, given = self.recipe, self.ingredients
        columns = recipe.validation_columns
        valid = perplexity(self.model, given.vocabulary, given.valid, recipe.state, columns=columns).value
        self._check_finite(valid)
        return valid

    def _row(self, valid: float) -> dict[str, Any]:
        progress = self.progress
        before = float(progress.log[-1]["seconds"]) if progress.log else 0.0
        row = {
            "epoch": progress.epoch + 1,
            "rate": progress.rate,
            f"training_{self.loss.measure}".replace(" ", "_"): self._training_loss(),
            "validation_perplexity": valid,
            "words_per_second": progress.epoch_tokens / max(progress.seconds - before, 1e-9),
            "seconds": progress.seconds,
        }
        return row if self.recipe.averaging == "none" else row | {"averaged": self.average.is_on}

    def _save(self) -> None:
        held = {"random": torch.get_rng_state()}
        if self.model.device.type == "cuda":
            held["random_of_device"] = torch.cuda.get_rng_state(self.model.device)
        for part, tensors in (
            ("model", self.model.state_dict()),
            ("optimizer", optimizer_tensors(self.optimizer)),
            ("state", self.state.tensors()),
            ("loss", self.loss.tensors()),
            ("average", self.average.tensors()),
        ):
            held |= {f"{part}.{name}": tensor for name, tensor in tensors.items()}
        self.saved.save(self.progress, held)

    def _resume(self) -> bool:
        """Go on from the last saved state, if there is one."""
        found = self.saved.load()
        if found is None:
            return False
        self.progress, held = found
        try:
            self._take(held)
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            raise self.saved.broken(error) from None
        self.report(f"resuming at epoch {self.progress.epoch + 1}, batch {self.progress.batches_done + 1}")
        return True

    def _take(self, held: dict[str, Tensor]) -> None:
        """The tensors of a saved state."""
        device = self.model.device

        def part_of(prefix: str) -> dict[str, Tensor]:
            return {n.removeprefix(prefix): t.to(device) for n, t in held.items() if n.startswith(prefix)}

        self.model.load_state_dict(part_of("model."), strict=True)
        load_optimizer_tensors(self.optimizer, part_of("optimizer."))
        self.state = State.from_tensors(part_of("state."))
        self.loss.load_tensors(part_of("loss."))
        self.average.load_tensors(part_of("average."))
        torch.set_rng_state(held["random"])
        if "random_of_device" in held:
            torch.cuda.set_rng_state(held["random_of_device"], device)

    def _finish(self) -> None:
        """The best weights measured and written; the run's folder away."""
        self.saved.load_best(self.model)
        card = finished_card(self.card, self.ingredients, self.sources, self.corpora, self.progress)
        for value in card.perplexity.values():
            self._check_finite(value)
        logs = log_files(self.progress, self.out.name)
        checkpoint.save(self.out, self.model, self.ingredients.vocabulary, card, beside=logs)
        checkpoint.load(self.out)  # only what can be read is worth the run's folder
        self.saved.remove()
        sentence, stream = (card.perplexity[f"validation, {state} state"] for state in STATES)
        figures = f"{sentence:.2f} (sentence), {stream:.2f} (stream)"
        if card.oov_rate["validation"]:
            charged = card.perplexity["validation, sentence state, OOV spread"]
            figures += f", {charged:.2f} (sentence, unknown words charged, as nbest score has it)"
        self.report(f"{self.out}: validation perplexity {figures}")
        start = self.progress.start
        if start is not None and self.progress.best > start:
            self.report(
                f"warning: the model has become worse than the one it started from ({self.progress.best:.2f} "
                f"against {start:.2f}): a lower learning rate, or --recipe adapt, may help"
            )
