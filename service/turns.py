"""Work of which one piece runs at a time, in a thread of its own: first come, first served."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Turns:
    """A queue before one thread; for the event loop."""

    def __init__(self, name: str) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._waiting = 0

    @property
    def waiting(self) -> int:
        """How many are in it, the one that runs too."""
        return self._waiting

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `call` gives, when its turn has come; one that is cancelled before that never runs."""
        self._waiting += 1
        try:
            context = copy_context()
            return await asyncio.get_running_loop().run_in_executor(
                self._executor, lambda: context.run(call, *args, **kwargs)
            )
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Nothing is begun any more; the call that runs now is not waited for."""
        self._executor.shutdown(wait=False, cancel_futures=True)
