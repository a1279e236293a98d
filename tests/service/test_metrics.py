# ruff: noqa: E501 - a table reads better with each case on one line

"""/metrics: the format, the figures, and that no caller can make up a label."""

import json
import logging
import math
import re
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.logs import REQUEST_ID, JsonLines
from service.metrics import Counter, Gauge, Histogram, exposition
from service.telemetry import Telemetry, peak_resident_bytes

MakeClient = Callable[..., TestClient]
SAMPLE = re.compile(r'([a-z_]+)(?:\{((?:[a-z]+="(?:[^"\\\n]|\\["\\n])*",?)+)\})? ([0-9.e+-]+|[+-]Inf)')
LABEL = re.compile(r'([a-z]+)="((?:[^"\\\n]|\\["\\n])*)"')
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def read(text: str) -> Samples:
    """The exposition format, read strictly: every line is one of it, every family said before its samples."""
    assert text.endswith("\n")
    found: Samples = {}
    families: dict[str, str] = {}
    for line in text[:-1].split("\n"):
        if line.startswith("# "):
            _, word, name, rest = line.split(" ", 3)
            assert word in ("HELP", "TYPE")
            if word == "TYPE":
                assert name not in families
                families[name] = rest
            continue
        match = SAMPLE.fullmatch(line)
        assert match, line
        name = match[1]
        family = name if name in families else re.sub("_(bucket|sum|count)$", "", name)
        assert families[family] in ("counter", "gauge", "histogram")
        key = (name, tuple(LABEL.findall(match[2] or "")))
        assert key not in found
        found[key] = float(match[3].replace("Inf", "inf"))
    return found


def figures(client: TestClient) -> Samples:
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return read(answer.text)


def test_the_text_of_each_kind() -> None:
    counter = Counter("a_total", 'Says "a\\b"\nc.', ("x",))
    counter.add('q"u\\o\nte')
    counter.add("plain", by=0.5)
    histogram = Histogram("h", "H.", (0.1, 1.0))
    for value in (0.05, 0.1, 0.2, 5.0):
        histogram.observe(value)
    gauge = Gauge("g", "G.", lambda: [((), math.inf)])
    assert exposition([counter, histogram, gauge]) == (
        '# HELP a_total Says "a\\\\b"\\nc.\n# TYPE a_total counter\n'
        'a_total{x="q\\"u\\\\o\\nte"} 1\na_total{x="plain"} 0.5\n'
        "# HELP h H.\n# TYPE h histogram\n"
        'h_bucket{le="0.1"} 2\nh_bucket{le="1"} 3\nh_bucket{le="+Inf"} 4\nh_sum 5.35\nh_count 4\n'
        "# HELP g G.\n# TYPE g gauge\ng +Inf\n"
    )
    read(exposition([counter, histogram, gauge]))


def test_a_request_leaves_its_figures(client: TestClient) -> None:
    body = {
        "models": ["small"],
        "weights": {"features": {"small": 1.0}},
        "lists": [
            {"id": "u", "hypotheses": [{"text": "a man"}, {"text": "a man"}, {"text": "a horse"}]},
            {"id": "v", "hypotheses": [{"text": "a", "features": {"x": 1.0}}]},
        ],
    }
    assert client.post("/v1/rescore", json=body).status_code == 200
    client.post("/v1/score", json={"model": "nosuch", "texts": ["a"]})
    client.post("/v1/score", content=b"{")
    found = figures(client)

    def one(name: str, **labels: str) -> float:
        return found[name, tuple(labels.items())]

    small = {"model": "small"}
    assert one("nbest_asked_tokens_total", **small) == 11  # three times three, and two
    assert one("nbest_unique_tokens_total", **small) == 8
    assert one("nbest_step_tokens_sum", **small) == 8
    assert one("nbest_step_tokens_count", **small) == 1
    assert one("nbest_scoring_threads") >= 1
    assert one("nbest_model_resident_bytes", **small) >= 0
    assert one("nbest_queue_seconds_count", **small) == 1
    assert one("nbest_scoring_seconds_total", **small) > 0
    assert one("nbest_queue_words", **small) == 0
    assert one("nbest_model_bytes", **small) == 0  # the fake has no files
    assert one("nbest_model_loads_total", **small, outcome="loaded") == 1
    assert one("nbest_list_errors_total", type="weights-mismatch") == 1
    assert one("nbest_errors_total", type="not-found") == 1
    assert one("nbest_errors_total", type="invalid-format") == 1
    for route, status in (("/v1/rescore", "200"), ("/v1/score", "404"), ("/v1/score", "400")):
        assert one("nbest_request_seconds_count", route=route, method="POST", status=status) == 1
    assert one("nbest_ready") == 1
    assert one("nbest_peak_resident_bytes") > 10_000_000
    assert one("nbest_peak_resident_bytes") <= peak_resident_bytes()


def test_no_caller_makes_labels(client: TestClient) -> None:
    """Made-up models, weight sets, paths, methods, metrics, ids, origins: the same few series."""
    for k in range(40):
        client.post("/v1/score", json={"model": f"m{k}", "texts": ["a"]})
        client.post("/v1/rescore", json={"models": [f"m{k}"], "weights": f"w{k}", "lists": [{"id": f"i{k}"}]})
        client.post("/v1/evaluate", json={"metric": f"x{k}", "hypotheses": ["a"], "references": ["a"]})
        client.get(f"/p{k}")
        client.get(f"/web/p{k}")
        client.get(f"/v1/weights/w{k}")
        client.get(f"/v1/models/m{k}")
        client.post(f"/v1/models/m{k}")
        client.request(f"METHOD{k}", "/v1/models", headers={"X-Request-ID": f"r{k}", "Origin": f"o{k}"})
    text = client.get("/metrics").text
    assert not re.search(r"[mwpxior][0-9]+\"|METHOD", text)
    series = {labels for (name, labels) in read(text) if name == "nbest_request_seconds_count"}
    assert len(series) <= 12, series
    routes = {dict(labels)["route"] for labels in series}
    assert {"/v1/weights/{name}", "/v1/models/{name}", "none", "/web/"} <= routes


def test_a_fault_and_a_refused_caller_are_counted(world: Any) -> None:
    from service.app import create_app

    app = create_app(world.settings(), opener=world.open_scorer, shipped=["small"])

    @app.get("/boom")
    async def boom() -> None:
        raise ZeroDivisionError("secret")

    with TestClient(app) as client:
        client.get("/boom")
        client.put("/v1/weights/a", json={}, headers={"Origin": "null"})
        found = figures(client)
    for cause in ("internal-error", "forbidden"):
        assert found["nbest_errors_total", (("type", cause),)] == 1


def test_a_model_that_cannot_be_loaded_is_counted(client: TestClient) -> None:
    client.post("/v1/score", json={"model": "broken", "texts": ["a"]})
    found = figures(client)
    assert found["nbest_model_loads_total", (("model", "broken"), ("outcome", "failed"))] == 1
    assert ("nbest_model_bytes", (("model", "broken"),)) not in found


def test_methods_are_of_a_few() -> None:
    telemetry = Telemetry()
    telemetry.answered("/a", "GET\n", 200, 0.1, None)
    assert 'method="other"' in telemetry.text()


def log_line(**changes: Any) -> Any:
    record = logging.LogRecord("nbest.x", logging.WARNING, "f", 1, "said %s", ("é\n\ud800",), None)
    for name, value in changes.items():
        setattr(record, name, value)
    line = JsonLines().format(record)
    assert "\n" not in line
    assert line.isascii()
    return json.loads(line)


def test_a_line_of_the_log_is_an_object() -> None:
    found = log_line()
    assert re.fullmatch(r"[0-9T:.-]{23}\+00:00", found.pop("time"))
    assert found == {"level": "warning", "logger": "nbest.x", "message": "said é\n\ud800"}
    token = REQUEST_ID.set("call-1")
    try:
        found = log_line(fields={"status": 200})
    finally:
        REQUEST_ID.reset(token)
    assert (found["request_id"], found["status"]) == ("call-1", 200)
    try:
        raise ZeroDivisionError("x")
    except ZeroDivisionError as error:
        found = log_line(exc_info=(type(error), error, error.__traceback__))
    assert found["exception"].startswith("Traceback")


def test_what_a_request_logs_has_its_id(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    lines: list[Any] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(json.loads(JsonLines().format(record)))

    keep = Keep()
    logging.getLogger("nbest").addHandler(keep)
    try:
        with caplog.at_level("INFO"):
            client.post(
                "/v1/score", json={"model": "broken", "texts": ["a"]}, headers={"X-Request-ID": "one"}
            )
            client.post(
                "/v1/score", json={"model": "small", "texts": ["CRASH"]}, headers={"X-Request-ID": "two"}
            )
    finally:
        logging.getLogger("nbest").removeHandler(keep)
    said = {(line["message"].split("0.")[0], line.get("request_id")) for line in lines}
    (failed,) = (line for line in lines if "cannot be loaded" in line["message"])
    assert failed["request_id"] == "one"  # from a thread
    (crashed,) = (line for line in lines if line["message"] == "scoring failed")
    assert "request_id" not in crashed  # a batch is of several requests
    assert {("POST /v1/score 503 ", "one"), ("POST /v1/score 500 ", "two")} <= said
    access = next(line for line in lines if line["logger"] == "nbest.access")
    assert {name: access[name] for name in ("method", "path", "route", "status", "cause")} == {
        "method": "POST", "path": "/v1/score", "route": "/v1/score", "status": 503, "cause": "invalid-model-file",
    }  # fmt: skip
