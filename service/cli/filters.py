"""What is done to texts before they are compared: the filters of evaluate, tune and oracle."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rescoring.formats.references import filtered
from rescoring.text import DEFAULT_PIPELINE, Pipeline, get_pipeline
from service.cli.outputs import Output

DETOKENIZE = "detokenize"


@dataclass(frozen=True)
class Filters:
    """The pipeline of hypotheses and references, and the one of references that comes before it."""

    both: Pipeline
    reference: Pipeline

    @classmethod
    def named(cls, both: str, reference: str, *, detokenize: bool = False) -> "Filters":
        """Raises ConfigError for names that are not known."""
        if detokenize:
            both = DETOKENIZE if both == DEFAULT_PIPELINE else f"{both},{DETOKENIZE}"
        return cls(get_pipeline(both), get_pipeline(reference))

    @property
    def signature(self) -> str:
        """What stands behind a metric's signature; nothing where nothing is done."""
        parts = (("filter", self.both), ("ref-filter", self.reference))
        return "".join(f"|{key}:{one.name}" for key, one in parts if one.name != DEFAULT_PIPELINE)

    @property
    def detokenizes(self) -> bool:
        """Whether texts are compared as they are printed."""
        return DETOKENIZE in self.both.name

    def texts(self, texts: Sequence[str]) -> list[str]:
        """Hypotheses as they are compared."""
        return self.both(texts)

    def references(self, references: Sequence[Sequence[str]]) -> tuple[tuple[str, ...], ...]:
        """References as they are compared."""
        return filtered(filtered(references, self.reference.name), self.both.name)

    def output(self, output: Output) -> Output:
        """Both sides of an output."""
        return replace(
            output, hypotheses=self.texts(output.hypotheses), references=self.references(output.references)
        )
