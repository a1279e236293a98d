import gc
import subprocess
import sys
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
    with pytest.raises(
        ModelFileError, match=r"the model 'broken' cannot be loaded: model.safetensors: corrupt or truncated"
    ):
        server.run(world.settings(port=0))
    assert seen == [1_000, 1_000]  # the collector was calm while it served
    assert gc.get_threshold() == before


def test_the_log_of_a_server_has_tracebacks(capfd: pytest.CaptureFixture[str]) -> None:
    program = """
import logging
from service.cli.loading import show_notices
from service.logs import log_of_a_server
show_notices()
log_of_a_server()
try:
    1 / 0
except ZeroDivisionError:
    logging.getLogger("nbest.service").exception("scoring failed")
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
    said = capfd.readouterr().err
    assert said.count("scoring failed") == 1
    assert "ERROR nbest.service scoring failed\nTraceback" in said
