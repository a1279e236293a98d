"""What the service counts, and under which labels: none that a caller could make up.

Routes are templates (/v1/weights/{name}), causes are the slugs of our errors, models are those that were
loaded. Tokens a second is rate(nbest_unique_tokens_total) / rate(nbest_scoring_seconds_total); the share of
tokens that had to be scored is nbest_unique_tokens_total / nbest_asked_tokens_total.
"""

from collections.abc import Callable, Iterable

from nbest import __version__
from service.memory import peak_resident_bytes, resident_bytes
from service.metrics import SECONDS, WORDS, Counter, Gauge, Histogram, Labels, exposition

_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"))
NO_ROUTE = "none"  # of a path that there is not, or of a caller without a key


class Telemetry:
    """One service's figures; all methods are for the event loop."""

    def __init__(self) -> None:
        model = ("model",)
        self.requests = Histogram(
            "nbest_request_seconds",
            "Time from a request's first byte to the end of its answer.",
            SECONDS,
            ("route", "method", "status"),
        )
        self.errors = Counter("nbest_errors_total", "Answers that are problems, by type.", ("type",))
        self.list_errors = Counter(
            "nbest_list_errors_total", "Lists with an error in an answer that is 200, by type.", ("type",)
        )
        self.queue_seconds = Histogram(
            "nbest_queue_seconds", "Time of a job in a model's queue before scoring began.", SECONDS, model
        )
        self.step_tokens = Histogram(
            "nbest_step_tokens", "Tokens of all jobs that a model read in one step.", WORDS, model
        )
        self.scoring_seconds = Counter("nbest_scoring_seconds_total", "Time in steps of a model.", model)
        self.asked_tokens = Counter(
            "nbest_asked_tokens_total", "Tokens of the texts that requests had scored.", model
        )
        self.unique_tokens = Counter(
            "nbest_unique_tokens_total", "The same, common beginnings once: those that were scored.", model
        )
        self.abandoned = Counter(
            "nbest_abandoned_jobs_total", "Jobs whose caller left or whose deadline passed.", model
        )
        self.losses = Counter("nbest_scoring_process_losses_total", "Scoring processes that ended.", ("how",))
        self.loads = Counter("nbest_model_loads_total", "Loads of a model, by outcome.", ("model", "outcome"))
        self._gauges: list[Gauge] = []

    def gauge(
        self, name: str, words: str, read: Callable[[], Iterable[tuple[Labels, float]]], labels: Labels = ()
    ) -> None:
        """Also writes down what `read` gives."""
        self._gauges.append(Gauge(name, words, read, labels))

    def answered(self, route: str, method: str, status: int, seconds: float, cause: str | None) -> None:
        """A request came to its end; `cause` is the slug of its problem."""
        self.requests.observe(seconds, route, method if method in _METHODS else "other", str(status))
        if cause is not None:
            self.errors.add(cause)

    def scored(self, model: str, asked: int, unique: int) -> None:
        """A request had so many tokens scored by a model."""
        self.asked_tokens.add(model, by=asked)
        self.unique_tokens.add(model, by=unique)

    def text(self) -> str:
        """Everything, as Prometheus reads it."""
        own = (
            Gauge("nbest_build_info", "1, with the version.", lambda: [((__version__,), 1.0)], ("version",)),
            Gauge(
                "nbest_peak_resident_bytes",
                "Most memory the process ever had.",
                lambda: [((), float(peak_resident_bytes()))],
            ),
            Gauge("nbest_resident_bytes", "Memory the process has.", lambda: [((), float(resident_bytes()))]),
        )
        counted = (
            self.requests, self.errors, self.list_errors, self.queue_seconds, self.step_tokens,
            self.scoring_seconds, self.asked_tokens, self.unique_tokens, self.abandoned,
            self.losses, self.loads,
        )  # fmt: skip
        return exposition((*own, *self._gauges, *counted))
