"""What is told of a model before it is loaded comes from its own regular files alone."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.model_files import CARD, FILES, ModelFacts, facts


@pytest.fixture
def model(world: Any) -> Path:
    folder: Path = world.models / "m"
    folder.mkdir()
    (folder / "config.json").write_text('{"system": "lstm"}')
    (folder / "model.safetensors").write_bytes(b"12345678")
    (folder / "vocabulary.json").write_text("{}")
    (folder / "card.json").write_text('{"description": "a model"}')
    return folder


@pytest.mark.parametrize("name", [*FILES, CARD])
def test_a_pipe_is_not_waited_for(model: Path, name: str) -> None:
    assert facts(model).system == "lstm"
    (model / name).unlink()
    os.mkfifo(model / name)
    assert facts(model) == ModelFacts()


@pytest.mark.parametrize("name", [*FILES, CARD])
def test_a_link_out_of_the_directory_tells_nothing_and_loads_nothing(
    make_client: Callable[..., TestClient], world: Any, model: Path, tmp_path: Path, name: str
) -> None:
    secret = tmp_path / "secret.json"
    secret.write_text('{"description": "hush", "licence": "hush", "system": "hush"}')
    (model / name).unlink()
    (model / name).symlink_to(secret)
    client = make_client()
    told = client.get("/v1/models/m")
    assert told.status_code == 200
    assert (told.json()["card"], told.json()["digest"], "hush" in told.text) == ({}, None, False)
    answer = client.post("/v1/models/m")
    assert (answer.status_code, answer.json()["type"]) == (503, "invalid-model-file")
    assert f"{name} is a link out of the model's directory" in answer.json()["detail"]
    assert str(tmp_path) not in answer.text
    assert world.opened == {}


def test_links_within_it_and_to_it_are_followed(
    make_client: Callable[..., TestClient], world: Any, model: Path, tmp_path: Path
) -> None:
    """A mount of Kubernetes has its files so; a directory that the operator linked is the operator's."""
    (model / "data").mkdir()
    for name in (*FILES, CARD):
        (model / name).rename(model / "data" / name)
        (model / name).symlink_to(Path("data") / name)
    model.rename(tmp_path / "elsewhere")
    model.symlink_to(tmp_path / "elsewhere")
    client = make_client()
    assert client.get("/v1/models/m").json()["card"] == {"description": "a model"}
    assert client.post("/v1/models/m").status_code == 200


def test_what_an_installer_linked_of_our_own_is_told(model: Path, tmp_path: Path) -> None:
    for name in (*FILES, CARD):
        (model / name).rename(tmp_path / name)
        (model / name).symlink_to(tmp_path / name)
    assert facts(model) == ModelFacts()
    assert facts(model, links=True).system == "lstm"
