"""The real service and servers that misbehave, and both clients behind one call."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from nbest_client import AsyncClient, Client, Retry
from tests.service.conftest import World
from tests.serving import dripping, fake, service, start

__all__ = ["dripping", "fake", "service", "start"]  # fixtures
QUICK = Retry(total_seconds=20, first_seconds=0.001, most_seconds=0.01)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


class Both:
    """One of the two clients, made anew for each call; what it gives is the same for both."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __call__(self, url: str, method: str, *arguments: Any, **given: Any) -> Any:
        how = {
            name: given.pop(name) for name in ("key", "retry", "timeout_seconds", "compress") if name in given
        }
        how.setdefault("retry", QUICK)
        if self.kind == "sync":
            with Client(url, **how) as client:
                found = getattr(client, method)(*arguments, **given)
                return list(found) if method == "rescore_stream" else found

        async def main() -> Any:
            async with AsyncClient(url, **how) as client:
                if method == "rescore_stream":
                    return [one async for one in client.rescore_stream(*arguments, **given)]
                return await getattr(client, method)(*arguments, **given)

        return asyncio.run(main())


@pytest.fixture(params=["sync", "async"])
def call(request: pytest.FixtureRequest) -> Both:
    return Both(request.param)
