"""Whether and when to try again: a pure decision of what failed, how often, and when."""

from dataclasses import dataclass, field
from typing import Any

from nbest_client.calls import Call
from nbest_client.errors import BusyError, ConnectionFailedError, NbestClientError


@dataclass(frozen=True)
class Retry:
    """A policy: exponential waits with jitter, never shorter than Retry-After, within a total.

    total_seconds   for all attempts and the waits between them; 0: one attempt
    first_seconds   the first wait is up to this; each next one up to twice the last
    most_seconds    of a wait that the service did not ask for
    """

    total_seconds: float = 300.0
    first_seconds: float = 0.25
    most_seconds: float = 15.0

    def wait_seconds(
        self, error: NbestClientError, failures: int, left_seconds: float, chance: float
    ) -> float | None:
        """How long to wait after so many failures; None: not again.

        chance  in [0, 1): the jitter, so that callers who failed together do not come back together
        """
        backoff = min(self.most_seconds, self.first_seconds * 2.0 ** min(failures - 1, 60))
        asked = error.retry_after_seconds if isinstance(error, BusyError) else None
        wait = backoff * (1 + chance) / 2 if asked is None else asked + backoff * chance
        return wait if wait < left_seconds else None


@dataclass
class Attempts:
    """The attempts of one call so far; times are of a monotonic clock."""

    call: Call[Any]
    policy: Retry
    timeout_seconds: float
    began: float
    failures: int = field(default=0, init=False)

    @property
    def total_seconds(self) -> float:
        """For all attempts."""
        asked = self.call.deadline_seconds
        return self.policy.total_seconds if asked is None else min(asked, self.policy.total_seconds)

    def timeout(self, now: float) -> float:
        """Seconds of silence after which this attempt has failed: never past the total."""
        if self.total_seconds <= 0 or self.call.watch is not None:
            return self.timeout_seconds
        return max(0.001, min(self.timeout_seconds, self.began + self.total_seconds - now))

    def is_late(self, now: float) -> bool:
        """Whether even an attempt that goes well has taken too long; of a single one the silence decides."""
        may_end = self.total_seconds > 0 and self.call.watch is None
        return may_end and now - self.began > self.total_seconds

    def failed(self, error: NbestClientError, now: float, chance: float) -> float:
        """Seconds to wait before the next attempt; raises `error` where there is none to be made."""
        self.failures += 1
        left = self.began + self.total_seconds - now
        wait = self.policy.wait_seconds(error, self.failures, left, chance) if self._may(error) else None
        if wait is None:
            if self.failures > 1:
                error.add_note(f"after {self.failures} attempts in {now - self.began:.1f} seconds")
            raise error
        return wait

    def _may(self, error: NbestClientError) -> bool:
        """The service refuses before it does anything; of what a proxy or nobody answers it is not known."""
        if isinstance(error, BusyError) and error.status in (429, 503):
            return True
        return isinstance(error, BusyError | ConnectionFailedError) and self.call.resend
