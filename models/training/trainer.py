"""Trains a model and can be killed at any moment: a run taken up again walks the very same path.

The run's folder is ``OUT.training``; it stays until the model is written.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models import checkpoint
from models.architectures import architecture
from models.dropout import Dropout
from models.language_model import LanguageModel
from models.layers.lstm import State
from models.training.corpus import Batch, Corpus, sentence_batches, stream_batches
from models.training.evaluation import perplexity, tensors
from models.training.losses import ChunkedCrossEntropy, SampledCrossEntropy
from models.training.memory import keep_large_blocks
from models.training.optimizers import (
    cosine_rate,
    load_optimizer_tensors,
    make_optimizer,
    optimizer_tensors,
    set_rate,
)
from models.training.recipe import Recipe
from models.training.saved_run import LOG, Progress, SavedRun, write_log
from models.vocabulary import build_vocabulary
from nbest.errors import ConfigError
from nbest.files import read_lines
from nbest.signature import sha256_file, signature

Report = Callable[[str], None]


@dataclass(frozen=True)
class Texts:
    """Training and validation text."""

    train: Path
    valid: Path

    def sha256(self) -> dict[str, str]:
        """Digest of each file's bytes."""
        return {"train": sha256_file(self.train), "valid": sha256_file(self.valid)}


class Trainer:
    """One training run."""

    def __init__(
        self,
        recipe: Recipe,
        texts: Texts,
        out: Path,
        *,
        report: Report = lambda _line: None,
        save_seconds: float = 120.0,
        device: str = "cpu",
        card: checkpoint.ModelCard | None = None,
    ) -> None:
        if out.exists():
            raise ConfigError(f"{out} is there already: remove it, or give another name")
        keep_large_blocks()
        self.recipe = recipe
        self.out = out
        self.report = report
        self.save_seconds = save_seconds
        self.card = card or checkpoint.ModelCard(name=out.name)
        self.sha256 = texts.sha256()
        self.saved = SavedRun(
            out.with_name(out.name + ".training"), {"recipe": recipe.model_dump(), "sha256": self.sha256}
        )
        report(f"reading {texts.train}")
        self.vocabulary = build_vocabulary(
            _lines(texts.train),
            max_size=recipe.vocabulary_size,
            min_count=recipe.min_count,
            lowercase=recipe.lowercase,
            unseen_types=recipe.unseen_types,
        )
        self.train_corpus = Corpus.from_lines(self.vocabulary, _lines(texts.train))
        self.valid_corpus = Corpus.from_lines(self.vocabulary, _lines(texts.valid))
        torch.manual_seed(recipe.seed)
        config = architecture(
            recipe.system, len(self.vocabulary), recipe.hidden_size, recipe.layers, **recipe.options
        )
        self.model = LanguageModel(config).to(device)
        self.optimizer = make_optimizer(recipe, self.model.parameters())
        self.loss = self._make_loss()
        self.dropout = Dropout(inputs=recipe.input_dropout, hidden=recipe.dropout, outputs=recipe.dropout)
        self.progress = Progress(rate=recipe.learning_rate)
        self.state = self.model.start_state(1)
        report(
            f"{recipe.system}: {len(self.vocabulary)} words, hidden size {recipe.hidden_size}, "
            f"{self.train_corpus.sentences} sentences, {self.train_corpus.predictions} tokens an epoch"
        )

    def _make_loss(self) -> "ChunkedCrossEntropy | SampledCrossEntropy":
        if self.recipe.loss == "full":
            return ChunkedCrossEntropy(self.model, low_precision=self.recipe.precision == "bf16")
        counts = np.bincount(self.train_corpus.tokens, minlength=len(self.vocabulary)).astype(np.float64)
        counts[self.vocabulary.end_id] = self.train_corpus.sentences
        return SampledCrossEntropy(self.model, counts, self.recipe.samples)

    def run(self) -> None:
        """Train to the end, from the last saved state where there is one, and write the model."""
        self._resume()
        while self.progress.epoch < self.recipe.epochs and self._rate_is_worth_it():
            self._epoch()
        self._finish()

    def _rate_is_worth_it(self) -> bool:
        least = self.recipe.minimum_rate * self.recipe.learning_rate
        return self.recipe.schedule == "cosine" or self.progress.rate >= least

    def _batches(self) -> Iterator[Batch]:
        recipe = self.recipe
        random = np.random.default_rng([recipe.seed, self.progress.epoch])
        if recipe.state == "sentence":
            return sentence_batches(
                self.train_corpus,
                self.vocabulary,
                tokens_per_batch=recipe.tokens_per_batch,
                longest=recipe.longest,
                random=random,
            )
        return stream_batches(
            self.train_corpus, self.vocabulary, columns=recipe.columns, steps=recipe.steps, random=random
        )

    def _epoch(self) -> None:
        progress = self.progress
        clock = last_save = last_report = time.monotonic()
        tokens_then = progress.epoch_tokens
        for batch in islice(self._batches(), progress.batches_done, None):
            nats, count = self._step(batch)
            progress.epoch_nats += nats
            progress.epoch_tokens += count
            progress.batches_done += 1
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

    def _step(self, batch: Batch) -> tuple[float, int]:
        """One optimiser step: (nats, tokens)."""
        recipe, model = self.recipe, self.model
        if recipe.schedule == "cosine":
            done = self.progress.epoch + self.progress.epoch_tokens / self.train_corpus.predictions
            self.progress.rate = cosine_rate(recipe.learning_rate, done / recipe.epochs)
        set_rate(self.optimizer, self.progress.rate)
        model.train()
        inputs, targets, mask = tensors(batch, model.device)
        state = model.start_state(inputs.shape[1]) if batch.fresh else self.state
        self.optimizer.zero_grad(set_to_none=False)
        hidden, after = model(inputs, state, self.dropout)
        hidden = self.dropout.drop(hidden, self.dropout.outputs)
        flat, wanted = hidden[mask], targets[mask]
        nats, gradient = self.loss.backward(flat, wanted, 1 / len(wanted))
        self._check_finite(nats)
        torch.autograd.backward(flat, gradient)
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        self.optimizer.step()
        model.after_step()
        self.state = after.detach()
        return nats, len(wanted)

    def _check_finite(self, loss: float) -> None:
        if not math.isfinite(loss):
            rate = f"learning rate {self.progress.rate}"
            raise ConfigError("training diverged: the loss is not finite", got=rate)

    def _report_progress(self, words_per_second: float) -> None:
        progress = self.progress
        share = progress.epoch_tokens / self.train_corpus.predictions
        left = (self.recipe.epochs - progress.epoch - share) * self.train_corpus.predictions
        self.report(
            f"epoch {progress.epoch + 1}/{self.recipe.epochs} {share:4.0%}  "
            f"training {self._measure()} {math.exp(progress.epoch_nats / progress.epoch_tokens):.2f}  "
            f"{words_per_second:.0f} words/s  rate {progress.rate:.3g}  "
            f"at most {left / max(words_per_second, 1e-9) / 60:.0f} min left"
        )

    def _end_epoch(self) -> None:
        progress = self.progress
        begun = time.monotonic()
        valid = perplexity(self.model, self.vocabulary, self.valid_corpus, self.recipe.state).value
        self._check_finite(valid)
        better = valid < progress.best
        progress.log.append(
            {
                "epoch": progress.epoch + 1,
                "rate": progress.rate,
                f"training_{self._measure()}".replace(" ", "_"): math.exp(
                    progress.epoch_nats / max(1, progress.epoch_tokens)
                ),
                "validation_perplexity": valid,
                "words_per_second": progress.epoch_tokens / max(progress.seconds - self._logged(), 1e-9),
                "seconds": progress.seconds,
            }
        )
        self.report(
            f"epoch {progress.epoch + 1}: validation perplexity {valid:.2f}"
            f"{' (best)' if better else ''}  [{time.monotonic() - begun:.0f} s]"
        )
        if better:
            progress.best = valid
            progress.bad_epochs = 0
            self.saved.save_best(self.model.state_dict())
        else:
            progress.bad_epochs += 1
            if self.recipe.schedule == "halve" and progress.bad_epochs >= self.recipe.patience:
                progress.rate /= 2
                progress.bad_epochs = 0
        progress.epoch += 1
        progress.batches_done = progress.epoch_tokens = 0
        progress.epoch_nats = 0.0
        self._save()

    def _measure(self) -> str:
        """What exp(mean training loss) is; over sampled words it is no perplexity."""
        return "perplexity" if self.recipe.loss == "full" else "sampled perplexity"

    def _logged(self) -> float:
        log = self.progress.log
        return float(log[-1]["seconds"]) if log else 0.0

    def _save(self) -> None:
        held: dict[str, Tensor] = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        held |= {f"optimizer.{k}": v for k, v in optimizer_tensors(self.optimizer).items()}
        held |= {f"state.{k}": v for k, v in self.state.tensors().items()}
        held["random"] = torch.get_rng_state()
        if isinstance(self.loss, SampledCrossEntropy):
            held["noise"] = self.loss.random_state()
        self.saved.save(self.progress, held)

    def _resume(self) -> None:
        found = self.saved.load()
        if found is None:
            return
        self.progress, held = found
        device = self.model.device

        def part_of(prefix: str) -> dict[str, Tensor]:
            return {n.removeprefix(prefix): t.to(device) for n, t in held.items() if n.startswith(prefix)}

        self.model.load_state_dict(part_of("model."), strict=True)
        load_optimizer_tensors(self.optimizer, part_of("optimizer."))
        torch.set_rng_state(held["random"])
        if isinstance(self.loss, SampledCrossEntropy):
            self.loss.set_random_state(held["noise"])
        self.state = State.from_tensors(part_of("state."))
        self.report(f"resuming at epoch {self.progress.epoch + 1}, batch {self.progress.batches_done + 1}")

    def _finish(self) -> None:
        """Both perplexities of the best weights into the card; the model to disk; the run's folder away."""
        self.model.load_state_dict(self.saved.load_best(), strict=True)
        sentence = perplexity(self.model, self.vocabulary, self.valid_corpus, "sentence")
        stream = perplexity(self.model, self.vocabulary, self.valid_corpus, "stream")
        card = self.card.model_copy(
            update={
                "perplexity": self.card.perplexity
                | {
                    "validation, sentence state": sentence.value,
                    "validation, stream state": stream.value,
                    "validation, sentence state, OOV spread": sentence.oov_spread,
                },
                "oov_rate": self.card.oov_rate | {"validation": sentence.oov / sentence.predictions},
                "corpora": self.card.corpora
                or [{"part": part, "sha256": digest} for part, digest in self.sha256.items()],
                "training": {
                    "recipe": self.recipe.model_dump(),
                    "sentences": self.train_corpus.sentences,
                    "tokens_per_epoch": self.train_corpus.predictions,
                    "epochs": self.progress.epoch,
                    "hours": round(self.progress.seconds / 3600, 2),
                    "signature": signature({"torch": torch.__version__, "threads": torch.get_num_threads()}),
                },
            }
        )
        checkpoint.save(self.out, self.model, self.vocabulary, card)
        write_log(self.progress, self.out / LOG)
        self.saved.remove()
        self.report(
            f"{self.out}: validation perplexity {sentence.value:.2f} (sentence), {stream.value:.2f} (stream)"
        )


def _lines(path: Path) -> Iterator[str]:
    return (line for _, line in read_lines(path))
