"""docs/operations.md: its table is the settings, its figures are the committed ones, what it names exists."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from nbest.errors import BusyError
from service.cli.main import nbest
from service.errors import NotReadyError
from service.settings import Settings


@pytest.fixture(scope="module")
def text(repository: Path) -> str:
    return (repository / "docs/operations.md").read_text("utf-8")


def told(default: Any) -> str:
    if default is None or default == ():
        return "none"
    if isinstance(default, bool):
        return "on" if default else "off"
    return f"{default:g}" if isinstance(default, float) else str(default)


def test_the_table_is_the_settings(text: str) -> None:
    rows = [
        f"| `--{name.replace('_', '-')}` | {told(field.default)} | {field.description} |"
        for name, field in Settings.model_fields.items()
    ]
    assert text.split("\n| flag | default | |\n|---|---|---|\n")[1] == "\n".join(rows) + "\n"
    page = CliRunner().invoke(nbest, ["serve", "--help"]).stdout
    assert [row for row in rows if row.split("`")[1] not in page] == []


def test_figures_are_the_committed_ones(text: str, repository: Path) -> None:
    """Within a tenth: they are said with few digits, and measured anew from time to time."""
    measured = json.loads((repository / "benchmarks/results/scoring-1.json").read_text("utf-8"))["measured"]
    of = {one["workload"]: one for one in measured if one["model"] == "lstm-512-10k"}
    both = r"([\d.]+), ([\d,]+) \|"
    rows = re.findall(rf"\| (six of translation|twelve of speech) \| ([\d,]+) \| {both} {both}", text)
    assert [row[0] for row in rows] == ["six of translation", "twelve of speech"]
    for row, one in zip(rows, (of["mt"], of["asr"]), strict=True):
        tokens, exact, exact_speed, int8, int8_speed = (float(cell.replace(",", "")) for cell in row[1:])
        assert tokens == one["tokens"]
        assert exact == pytest.approx(one["contenders"]["engine, fp32"]["seconds"], rel=0.1)
        assert int8 == pytest.approx(one["contenders"]["engine, int8"]["seconds"], rel=0.1)
        assert exact_speed == pytest.approx(tokens / exact, rel=0.1)
        assert int8_speed == pytest.approx(tokens / int8, rel=0.1)
    (found,) = re.findall(r"N = ([\d,]+) / 6 = ([\d,]+), T = ([\d,]+),\nwhich is (\d+) lists a second", text)
    tokens, each, speed, lists = (float(number.replace(",", "")) for number in found)
    assert each == pytest.approx(tokens / 6, abs=1)
    assert lists == round(speed / (2 * each))
    (seconds,) = re.findall(r"4,000,000\) is (\d+) seconds", text)
    assert Settings().queue_words == 4_000_000
    assert int(seconds) == pytest.approx(4_000_000 / speed, abs=1)


def test_metrics_settings_and_errors_that_are_named_exist(text: str, make_client: Any) -> None:
    client = make_client()
    client.post("/v1/score", json={"model": "small", "texts": ["a man"]})
    written = client.get("/metrics").text
    named = set(re.findall(r"nbest_[a-z_]+", text)) - {"nbest_client"}
    assert len(named) > 10
    assert {name for name in named if f"{name}" not in written} == set()
    types = re.search(r'type=~"([a-z\\|-]+)"', text)
    assert types is not None
    assert types.group(1).split("\\|") == [BusyError.slug, NotReadyError.slug]
    options = set(re.findall(r"--[a-z][a-z-]+", text))
    helps = "".join(CliRunner().invoke(nbest, [name, "--help"]).stdout for name in ("serve", "doctor"))
    assert {name for name in options if name not in helps} == set()


def test_a_refusal_has_the_status_that_it_says(text: str) -> None:
    from service.errors import status_of

    assert f"({status_of(BusyError('', retry_after_seconds=1))}, `Retry-After`)" in text
