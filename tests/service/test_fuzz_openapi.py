"""Every route of /openapi.json by itself: what schemathesis makes of its schemas is answered as documented.

Never a 500; status, content type, headers and body are those of the document; what the schemas forbid is
refused. What they allow may be refused all the same, for they cannot say everything (a name that is there, a
query only of text bodies), so that is no fault.
"""

import json
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import given, settings
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks

from service.keys import SCOPES, new_key, write_keys

Fuzz = Callable[[int], settings]
MODEL, WEIGHTS = "small", "asr"
load_all_checks()
WANTED = CHECKS.get_by_names(
    [
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
        "negative_data_rejection",
        "missing_required_header",
    ]
)


def document(client: TestClient, headers: dict[str, str]) -> Any:
    """/openapi.json, pairs as lists of two: schemathesis turns them into a keyword of older schemas."""

    def plain(value: Any) -> Any:
        if isinstance(value, list):
            return [plain(one) for one in value]
        if not isinstance(value, dict):
            return value
        found = {key: plain(one) for key, one in value.items() if key != "prefixItems"}
        return found | ({"items": value["prefixItems"][0]} if "prefixItems" in value else {})

    return plain(client.get("/openapi.json", headers=headers).json())


def send(client: TestClient, case: Any, headers: dict[str, str]) -> Any:
    """The case as a request of this client: its service runs, with one loop for all of them."""
    if "name" in case.path_parameters and len(case.path_parameters["name"]) % 2:
        case.path_parameters["name"] = MODEL if "models" in case.path else WEIGHTS  # one that is there
    kinds = ("method", "url", "headers", "files", "data", "params", "json")
    kept = case.as_transport_kwargs(base_url="http://testserver")
    ready = requests.Request(**{key: value for key, value in kept.items() if key in kinds}).prepare()
    sent = [(name.encode(), value if isinstance(value, bytes) else value.encode("latin-1", "replace"))
            for name, value in {**ready.headers, **headers}.items()]  # fmt: skip
    return client.request(str(ready.method), str(ready.url), headers=sent, content=ready.body)


def check_problem(response: Any) -> None:
    """What is no answer is a problem document, with its status in it and nothing of our own."""
    assert response.status_code < 500 or response.status_code in (503, 507)  # no time, no room: documented
    if response.status_code < 400 or "json" not in response.headers["content-type"]:
        return
    said = response.json()
    if response.headers["content-type"] == "application/problem+json":
        assert said["status"] == response.status_code
        assert said["type"] != "internal-error"
    assert "Traceback" not in response.text


def try_all(
    client: TestClient, fuzz: Fuzz, headers: dict[str, str], examples: int
) -> Counter[tuple[str, int]]:
    """Every operation with schema-valid requests and with others; how often each status came."""
    seen: Counter[tuple[str, int]] = Counter()
    described = document(client, headers)
    described["components"].pop("securitySchemes", None)  # the key is ours to send
    for verbs in described["paths"].values():
        for operation in verbs.values():
            operation.pop("security", None)
    schema = schemathesis.openapi.from_dict(described)
    for found in schema.get_all_operations():
        operation = found.ok()
        refusable = operation.body or operation.headers or operation.query
        for mode in GenerationMode if refusable else (GenerationMode.POSITIVE,):
            if mode == GenerationMode.NEGATIVE and not operation.body:
                continue  # any text is a header's value

            @fuzz(examples)
            @given(operation.as_strategy(generation_mode=mode))
            def holds(case: Any) -> None:
                response = send(client, case, headers)
                seen[case.operation.label, response.status_code] += 1
                case.validate_response(response, checks=WANTED)
                check_problem(response)

            holds()
    return seen


def test_every_answer_is_a_documented_one(client: TestClient, fuzz: Fuzz) -> None:
    seen = try_all(client, fuzz, {}, 8)
    asked = document(client, {})["paths"]
    every = {f"{verb.upper()} {path}" for path in asked for verb in asked[path]}
    assert {label for label, _ in seen} == every
    for label in ("POST /v1/rescore", "POST /v1/score", "POST /v1/evaluate", "POST /v1/models/{name}"):
        assert seen[label, 200], f"{label}: no request got through"


def test_with_keys_too(make_client: Callable[..., TestClient], fuzz: Fuzz, tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    made = [new_key("all", SCOPES, datetime.now(UTC)), new_key("nothing", [], datetime.now(UTC))]
    write_keys([key for _, key in made], path)
    client = make_client(keys=path)
    every, nothing = ({"Authorization": f"Bearer {text}"} for text, _ in made)
    asked = document(client, every)
    assert asked["paths"]["/v1/models/{name}"]["delete"]["security"] == [{"key": ["admin"]}]
    assert asked["paths"]["/v1/models/{name}"]["get"]["security"] == [{"key": []}]
    assert "security" not in asked["paths"]["/livez"]["get"]
    for headers, status in ((every, 200), (nothing, 403)):
        seen = try_all(client, fuzz, headers, 3)
        assert any(found == status for _, found in seen)


@pytest.mark.parametrize("keys", [False, True])
def test_nobody_without_a_key_gets_in(
    make_client: Callable[..., TestClient], tmp_path: Path, keys: bool
) -> None:
    """Each operation, once: 401 where the document asks for a key, and only there."""
    path = tmp_path / "keys.json"
    text, key = new_key("all", SCOPES, datetime.now(UTC))
    write_keys([key], path)
    client = make_client(keys=path if keys else None)
    asked = document(client, {"Authorization": f"Bearer {text}"})
    assert ("securitySchemes" in asked["components"]) == keys
    for template, verbs in asked["paths"].items():
        for verb, operation in verbs.items():
            answer = client.request(verb, template.replace("{name}", "small"), content=b"{")
            assert (answer.status_code == 401) == ("security" in operation), (verb, template)
            assert ("401" in operation["responses"]) == ("security" in operation), json.dumps(operation)
