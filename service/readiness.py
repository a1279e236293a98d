"""Whether traffic should be sent here: loading, ready, restarting, failed or draining."""

from typing import Literal

from nbest.errors import NbestError
from service.errors import NotReadyError

State = Literal["loading", "ready", "restarting", "failed", "draining"]
_RETRY_SECONDS = 5.0


class Readiness:
    """One word of state; draining is final."""

    def __init__(self) -> None:
        self._state: State = "loading"
        self._reason = "models are being loaded"
        self._scores = True  # nothing is known to the contrary
        self.failure: NbestError | None = None  # why what was to be loaded cannot be

    @property
    def state(self) -> State:
        """The word itself."""
        return "restarting" if self._state == "ready" and not self._scores else self._state

    def ready(self) -> None:
        """All that was to be loaded is loaded."""
        self._enter("ready", "")

    def failed(self, failure: NbestError) -> None:
        """What was to be loaded cannot be."""
        self.failure = failure
        self._enter("failed", str(failure))

    def scoring(self, can: bool) -> None:
        """Whether texts can be scored: there is a scoring process."""
        self._scores = can

    def drain(self) -> None:
        """The service is about to stop: requests in hand are finished, new ones belong elsewhere."""
        self._enter("draining", "the service is stopping")

    def check(self) -> None:
        """Raises NotReadyError with the reason unless ready."""
        if self.state == "restarting":
            raise NotReadyError(
                "restarting: the scoring process has ended and is started again", retry_after_seconds=1.0
            )
        if self.state != "ready":
            raise NotReadyError(f"{self._state}: {self._reason}", retry_after_seconds=_RETRY_SECONDS)

    def _enter(self, state: State, reason: str) -> None:
        if self._state != "draining":
            self._state, self._reason = state, reason
