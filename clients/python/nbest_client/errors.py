"""One tree of errors, ordered by what the caller can do about them.

    NbestClientError
    ├── ConnectionFailedError  no whole answer: refused, lost, or too late
    │   └── TruncatedError     the answer was cut on the way
    ├── UnexpectedAnswerError  not an answer of an nbest service: a proxy's page, another version
    └── ProblemError           the service says what is wrong; all of its words are attributes
        ├── InvalidRequestError    400, 408, 415, 422: mend the request
        ├── LimitError             413: send less at a time
        ├── UnauthorizedError      401: no key, or not one of the service
        ├── ForbiddenError         403: a key without the scope
        ├── NotFoundError          404, 405: no such model, weight set or route
        ├── ConflictError          409, 412, 428: what is there is not what the caller has seen
        ├── BusyError              429, 502, 503, 504: later; `retry_after_seconds` may say when
        └── ServiceFaultError      any other 5xx: for the operator

What is wrong with one list is no exception but a value: `FailedList`.
"""

from dataclasses import dataclass


class NbestClientError(Exception):
    """Anything this client raises on purpose."""


class ConnectionFailedError(NbestClientError):
    """No whole answer came: refused, lost on the way, or too late."""


class TruncatedError(ConnectionFailedError):
    """An answer without its end."""


class UnexpectedAnswerError(NbestClientError):
    """Not an answer of an nbest service."""


@dataclass(frozen=True)
class Problem:
    """RFC 9457 problem details, as the service words them.

    type      the error's slug, the same for ever; `http-502` and the like where no document came
    pointer   JSON pointer to what is wrong in the request
    """

    type: str
    title: str
    status: int
    detail: str
    pointer: str | None = None
    expected: str | None = None
    got: str | None = None
    request_id: str | None = None
    retry_after_seconds: float | None = None

    def __str__(self) -> str:
        text = f"{self.pointer}: {self.detail}" if self.pointer else self.detail
        text += f"; expected {self.expected}" if self.expected is not None else ""
        text += f"; got {self.got}" if self.got is not None else ""
        return f"{text} ({self.status} {self.type}, request {self.request_id or 'unknown'})"


class ProblemError(NbestClientError):
    """The service answered with a problem."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        return str(self.problem)

    @property
    def type(self) -> str:
        """The slug: `invalid-request`, `not-found`, `busy`, ..."""
        return self.problem.type

    @property
    def title(self) -> str:
        """What kind of problem it is, in words."""
        return self.problem.title

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.problem.status

    @property
    def detail(self) -> str:
        """What is wrong this time."""
        return self.problem.detail

    @property
    def pointer(self) -> str | None:
        """JSON pointer to what is wrong in the request."""
        return self.problem.pointer

    @property
    def expected(self) -> str | None:
        """What should have stood there."""
        return self.problem.expected

    @property
    def got(self) -> str | None:
        """What stood there."""
        return self.problem.got

    @property
    def request_id(self) -> str | None:
        """By which the operator finds the request in the service's log."""
        return self.problem.request_id


class InvalidRequestError(ProblemError):
    """Mend the request."""


class LimitError(ProblemError):
    """More at a time than the service takes."""


class UnauthorizedError(ProblemError):
    """No key, or not one of the service."""


class ForbiddenError(ProblemError):
    """The key's scopes do not allow this."""


class NotFoundError(ProblemError):
    """No such model, weight set or route."""


class ConflictError(ProblemError):
    """What is there is not what the caller has seen."""


class BusyError(ProblemError):
    """Nothing is wrong with the request: later."""

    @property
    def retry_after_seconds(self) -> float | None:
        """When to come back, where the service says it."""
        return self.problem.retry_after_seconds


class ServiceFaultError(ProblemError):
    """A fault of the service."""


_BY_STATUS: dict[int, type[ProblemError]] = {
    401: UnauthorizedError,
    403: ForbiddenError,
    404: NotFoundError,
    405: NotFoundError,
    409: ConflictError,
    412: ConflictError,
    413: LimitError,
    428: ConflictError,
    429: BusyError,
    502: BusyError,
    503: BusyError,
    504: BusyError,
}


def problem_error(problem: Problem) -> ProblemError:
    """The error of the tree for a problem."""
    is_fault = problem.status >= 500 or problem.type == "internal-error"
    fallback = ServiceFaultError if is_fault else InvalidRequestError
    return _BY_STATUS.get(problem.status, fallback)(problem)
