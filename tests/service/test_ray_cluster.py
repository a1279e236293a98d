"""What is kept from Ray, and where it is looked for; without starting it."""

import os
import signal
import sys

import pytest

from nbest.errors import ConfigError
from service import ray_cluster


class Stopped(BaseException):
    """What the command's own handler raises."""


def test_before_ray_is_imported_it_is_told_to_be_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_USAGE_STATS_ENABLED", "RAY_DEDUP_LOGS", "RAY_DEDUP_LOGS_SKIP_REGEX"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("RAY_DEDUP_LOGS_ALLOW_REGEX", ".")
    monkeypatch.setenv("RAY_BACKEND_LOG_LEVEL", "debug")
    monkeypatch.setattr(ray_cluster, "find_spec", lambda _: True)
    ray_cluster.prepare("a test")
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
    assert os.environ["RAY_DEDUP_LOGS_SKIP_REGEX"] == "^"
    assert "RAY_DEDUP_LOGS_ALLOW_REGEX" not in os.environ
    assert os.environ["RAY_BACKEND_LOG_LEVEL"] == "debug"  # of someone who looks for a fault


def test_where_it_is_not_installed_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_cluster, "find_spec", lambda _: None)
    with pytest.raises(
        ConfigError, match=r"a test: Ray is not installed; expected pip install 'nbest\[ray\]'"
    ):
        ray_cluster.prepare("a test")


def test_signals_stay_the_commands() -> None:
    """Ray sets a handler that ends the process with exit code 15."""

    def stop(_number: int, _frame: object) -> None:
        raise Stopped

    before = signal.signal(signal.SIGTERM, stop)
    try:
        with pytest.raises(Stopped), ray_cluster._own_signals():
            signal.signal(signal.SIGTERM, lambda number, _: sys.exit(number))
            signal.raise_signal(signal.SIGTERM)
        with ray_cluster._own_signals():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        assert signal.getsignal(signal.SIGTERM) is stop
    finally:
        signal.signal(signal.SIGTERM, before)


def test_what_is_written_on_standard_error_meanwhile_is_lost(capfd: pytest.CaptureFixture[str]) -> None:
    os.write(2, b"before\n")
    with ray_cluster._silent():
        os.write(2, b"noise\n")
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "before\nafter\n"


def test_a_long_name_of_the_temporary_folder_is_none_for_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.gettempdir", lambda: "/scratch")
    assert ray_cluster._place() == "/scratch"
    monkeypatch.setattr("tempfile.gettempdir", lambda: "/scratch/" + 30 * "x")
    assert ray_cluster._place() == "/tmp"


def test_a_client_of_a_cluster_is_not_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray", reason="the extra ray is not installed")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setenv("RAY_ADDRESS", "ray://head:10001")
    with pytest.raises(ConfigError, match="RAY_ADDRESS: the lists are read on a machine of the cluster"):
        with ray_cluster.connected(1):
            pass
