"""Every setting of the service, from NBEST_... environment variables or `nbest serve` flags."""

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from nbest.errors import ConfigError, shorten
from service.memory import processors

_EXPECTED = {  # where pydantic's words would not do
    "models": "a directory that is there",
    "weights": "a directory that is there",
    "keys": "a file that is there",
    "device": "cpu, cuda or cuda:N",
}


class Settings(BaseSettings):
    """Settings of one server process; frozen once made."""

    model_config = SettingsConfigDict(env_prefix="NBEST_", env_ignore_empty=True, frozen=True, extra="forbid")

    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(default=8000, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    published: str | None = Field(
        default=None, description="address where others reach the service, if it is not the one to listen on"
    )
    keys: Path | None = Field(default=None, description="file of the keys that callers need")
    no_keys: bool = Field(default=False, description="serve without keys even where others reach the service")
    models: Path | None = Field(default=None, description="directory whose sub-directories are models")
    weights: Path | None = Field(default=None, description="directory whose NAME.json files are weight sets")
    preload: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="models loaded before the service is ready, comma-separated"
    )
    device: str = Field(
        default="cpu",
        pattern=r"^(cpu|cuda(:[0-9]{1,3})?)$",
        description="where models run: cpu, cuda or cuda:N",
    )
    precision: Literal["fp32", "int8"] = Field(
        default="fp32", description="of the models' products: fp32 is exact, int8 faster and a little off"
    )
    max_body_bytes: int = Field(
        default=32 * 1024 * 1024, ge=1, description="largest body, as sent and once decompressed"
    )
    max_connections: int = Field(default=500, ge=1, le=100_000, description="most connections at a time")
    header_seconds: float = Field(
        default=20.0, gt=0, le=3600, description="longest time for a request's headers to come"
    )
    body_seconds: float = Field(
        default=300.0, gt=0, le=3600, description="longest time for a body to come, or an answer to be read"
    )
    max_held_bytes: int = Field(
        default=256 * 1024 * 1024, ge=1, description="most bytes of the bodies of all requests in hand"
    )
    max_lists: int = Field(default=10_000, ge=1, description="most lists in a request")
    max_hypotheses: int = Field(default=200_000, ge=1, description="most hypotheses, or texts, in a request")
    max_text_bytes: int = Field(
        default=1024 * 1024, ge=1, description="longest hypothesis or text in UTF-8 bytes"
    )
    max_features: int = Field(default=5_000, ge=1, description="most feature values of a hypothesis")
    max_weights_bytes: int = Field(default=1024 * 1024, ge=1, description="largest weight set")
    max_weight_files: int = Field(
        default=10_000, ge=1, description="most weight sets, each version counted, that callers may leave"
    )
    queue_words: int = Field(default=4_000_000, ge=1, description="most words waiting for one model")
    processes: int | None = Field(
        default=None, ge=1, le=256, description="scoring processes; by default one for each four processors"
    )
    threads: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        description="threads of each of them; by default OMP_NUM_THREADS, else what processors there are",
    )
    stuck_seconds: float = Field(
        default=60.0,
        gt=0,
        le=3600,
        description="a scoring process that is silent in its work so long is ended",
    )
    evaluate_seconds: float = Field(
        default=60.0, gt=0, le=3600, description="longest counting of an evaluation"
    )
    tune_seconds: float = Field(default=300.0, gt=0, le=3600, description="longest search for weights")
    access_log: bool = Field(default=True, description="a line in the log for every request")
    log_format: Literal["text", "json"] = Field(
        default="text", description="of the log: lines for people, or a JSON object a line"
    )
    grace_seconds: float = Field(
        default=30.0, ge=1, le=3600, description="seconds that requests in hand have after the last SIGTERM"
    )
    drain_seconds: float = Field(
        default=0.0, ge=0, le=3600, description="seconds of serving on, not ready, after the first SIGTERM"
    )

    @property
    def scoring_processes(self) -> int:
        """How many processes hold models: on a GPU one."""
        return self.processes or (max(1, processors() // 4) if self.device == "cpu" else 1)

    @property
    def scoring_threads(self) -> int:
        """How many threads each of them calculates with."""
        told = os.environ.get("OMP_NUM_THREADS", "")
        return self.threads or (
            int(told) if told.isdecimal() and int(told) else max(1, processors() // self.scoring_processes)
        )

    @field_validator("models", "weights")
    @classmethod
    def _there(cls, path: Path | None) -> Path | None:
        if path is not None and not path.is_dir():
            raise ValueError
        return path

    @field_validator("keys")
    @classmethod
    def _a_file(cls, path: Path | None) -> Path | None:
        if path is not None and not path.is_file():
            raise ValueError
        return path

    @field_validator("preload", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part for part in value.split(",") if part) if isinstance(value, str) else value


def load_settings(**given: Any) -> Settings:
    """What is given, else the environment, else the defaults; raises ConfigError naming the setting."""
    try:
        return Settings(**given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = "_".join(str(part) for part in first["loc"])
        raise ConfigError(
            f"the setting {name} cannot be used",
            where=f"NBEST_{name.upper()}",
            expected=_EXPECTED.get(name) or first["msg"].removeprefix("Input should be "),
            got=shorten(str(first["input"])),
        ) from None
