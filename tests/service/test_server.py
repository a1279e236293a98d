import gc
from typing import Any

import pytest

from nbest.errors import ModelFileError
from service import server
from service.app import create_app


def test_a_model_that_cannot_be_preloaded_ends_the_process_with_its_error(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def opener(source: str) -> Any:
        seen.append(gc.get_threshold()[2])
        return world.open_scorer(source)

    app = create_app(world.settings(preload="small,broken"), opener=opener, shipped=["small"])
    monkeypatch.setattr(server, "create_app", lambda _: app)
    before = gc.get_threshold()
    with pytest.raises(ModelFileError, match="the model 'broken' cannot be loaded: corrupt or truncated"):
        server.run(world.settings(port=0))
    assert seen == [1_000, 1_000]  # the collector was calm while it served
    assert gc.get_threshold() == before
