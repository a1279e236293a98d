"""One tree of errors, ordered by what the reader can do about them.

    NbestError                      anything this product raises on purpose
    ├── InputError                  what was given is wrong: mend it and try again (exit 2, HTTP 4xx)
    │   ├── FormatError             a file or a request does not follow its format
    │   ├── FeatureError            a feature is missing, unknown, of another width or not finite
    │   │   └── NonFiniteFeatureError   a feature value is NaN or infinite
    │   ├── WeightsError            feature weights do not fit the lists, the models or the text pipeline
    │   ├── ReferenceMismatchError  references and hypotheses do not belong together
    │   ├── NotFoundError           no such model, weight set or file
    │   ├── ModelFileError          a model on disk is corrupt, truncated or of an unknown kind
    │   ├── ConfigError             settings that cannot be combined
    │   └── LimitError              more than the stated limit was sent (HTTP 413)
    ├── BusyError                   nothing is wrong with the input: try later (exit 75, HTTP 429 or 503)
    └── ScoringCancelledError       whoever asked for scores no longer wants them

Every message says what, where, what was expected and what came.
"""

from functools import partial
from typing import ClassVar


class NbestError(Exception):
    """Anything this product raises on purpose.

    `where` is ``file:line`` or a JSON pointer, `expected` and `got` name the two sides of a
    disagreement; all three are part of the printed message and stay available as attributes.
    """

    slug: ClassVar[str] = "error"

    def __init__(
        self,
        message: str,
        *,
        where: str | None = None,
        expected: str | None = None,
        got: str | None = None,
    ) -> None:
        self.message = message
        self.where = where
        self.expected = expected
        self.got = got
        super().__init__(message)

    def __str__(self) -> str:
        text = f"{self.where}: {self.message}" if self.where else self.message
        if self.expected is not None:
            text += f"; expected {self.expected}"
        if self.got is not None:
            text += f"; got {self.got}"
        return text


class InputError(NbestError):
    """What was given is wrong: mend it and try again."""

    slug = "invalid-input"


class FormatError(InputError):
    """A file or a request does not follow its format."""

    slug = "invalid-format"


class FeatureError(InputError):
    """A feature is missing, unknown, of another width or not finite."""

    slug = "invalid-feature"


class NonFiniteFeatureError(FeatureError):
    """A feature value is NaN or infinite."""

    slug = "non-finite-feature"


class WeightsError(InputError):
    """Feature weights do not fit the lists, the models or the text pipeline."""

    slug = "weights-mismatch"


class ReferenceMismatchError(InputError):
    """References and hypotheses do not belong together."""

    slug = "reference-mismatch"


class NotFoundError(InputError):
    """No such model, weight set or file."""

    slug = "not-found"


class ModelFileError(InputError):
    """A model on disk is corrupt, truncated or of an unknown kind."""

    slug = "invalid-model-file"


class ConfigError(InputError):
    """Settings that cannot be combined."""

    slug = "invalid-configuration"


class LimitError(InputError):
    """More than the stated limit was sent."""

    slug = "limit-exceeded"


class BusyError(NbestError):
    """Nothing is wrong with the input: try later."""

    slug = "busy"

    def __init__(self, message: str, *, retry_after_seconds: float) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds

    def __reduce__(self) -> tuple[object, ...]:
        # The keyword has no default, so pickle needs telling; errors cross from worker processes.
        return partial(type(self), retry_after_seconds=self.retry_after_seconds), (self.message,)


def shorten(text: str, limit: int = 80) -> str:
    """`text` for an error message: quoted, unprintable characters escaped, at most `limit` of its own."""
    if len(text) <= limit:
        return repr(text)
    return f"{repr(text[:limit])[:-1]}… ({len(text)} characters)"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether there was not enough memory, on the CPU or on a GPU."""
    # torch's allocator for the CPU raises a RuntimeError, and says only in words what it is.
    said = str(error)
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError)
        and any(words in said for words in ("out of memory", "not enough memory", "can't allocate memory"))
    )


class ScoringCancelledError(NbestError):
    """Whoever asked for scores no longer wants them."""

    slug = "cancelled"
