"""Several pieces of a request's work: beside each other, at once, or in a thread."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def together(*work: Awaitable[T]) -> list[T]:
    """Results in order; when one fails the others are cancelled, for nobody would read them."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()


async def done(at_once: bool, work: Callable[[], T]) -> T:
    """The result of `work`, which is small, or is done in a thread: others have their turn meanwhile."""
    return work() if at_once else await asyncio.to_thread(work)
