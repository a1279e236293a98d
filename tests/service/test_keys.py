# ruff: noqa: E501 - a table reads better with each case on one line

"""Keys: what their file may hold, who gets in, what is told to those who do not, nothing of them in logs."""

import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

import pytest
from fastapi.testclient import TestClient

from nbest.errors import ConfigError, NotFoundError
from nbest.signature import sha256_hex
from service import routes, security
from service.app import create_app
from service.keys import SCOPES, Key, Scope, dump_keys, find, new_key, parse_keys, read_keys, write_keys
from service.settings import Settings

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
WEIGHTS = {"format": "nbest-weights/1", "features": {"ac": 1.0}}
LISTS = {"lists": [{"id": "u", "hypotheses": [{"text": "a", "features": {"total": -3.0}}]}]}
EVALUATE = {"metric": "wer", "hypotheses": ["a"], "references": ["a"]}


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


class Locked:
    """A service with a key for each scope, one for all and one for none."""

    def __init__(self, client: TestClient, path: Path, texts: dict[str, str]) -> None:
        self.client = client
        self.path = path
        self.texts = texts

    def ask(self, method: str, path: str, who: str | None, **more: Any) -> Any:
        headers = {**more.pop("headers", {}), **(bearer(self.texts[who]) if who else {})}
        return self.client.request(method, path, headers=headers, **more)


@pytest.fixture
def locked(make_client: Callable[..., TestClient], tmp_path: Path) -> Locked:
    path = tmp_path / "keys.json"
    made = {scope: new_key(scope, [scope], NOW) for scope in SCOPES}
    made |= {"all": new_key("all", SCOPES, NOW), "nothing": new_key("nothing", [], NOW)}
    write_keys([key for _, key in made.values()], path)
    return Locked(make_client(keys=path), path, {name: text for name, (text, _) in made.items()})


def test_keys_are_random_and_only_hashes_are_kept(tmp_path: Path) -> None:
    made = [new_key("decoder", ["tune", "score"], NOW) for _ in range(50)]
    texts = {text for text, _ in made}
    assert len(texts) == 50
    assert all(re.fullmatch(r"nbest-[A-Za-z0-9_-]{43}", text) for text in texts)  # 43 of 64 signs: 256 bits
    text, key = made[0]
    assert key == Key("decoder", ("score", "tune"), sha256_hex(text.encode()), "2026-11-22T12:00:00Z")
    write_keys([key], tmp_path / "keys.json")
    assert text[6:] not in (tmp_path / "keys.json").read_text()
    assert read_keys(tmp_path / "keys.json") == (key,) == parse_keys(dump_keys([key]).encode(), "x")


def test_a_key_is_found_by_its_whole_text() -> None:
    (first, one), (second, two) = new_key("a", ["score"], NOW), new_key("b", ["score"], NOW)
    assert (find(first, [one, two]), find(second, [one, two])) == (one, two)
    for wrong in ("", first[:-1], first + "a", first.upper(), f" {first}", first + "\0", "nbest-" + "é" * 43):
        assert find(wrong, [one, two]) is None, wrong


def test_every_hash_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    from service import keys

    made = [new_key(f"k{k}", ["score"], NOW) for k in range(5)]
    compared: list[str] = []
    real = keys.hmac.compare_digest
    monkeypatch.setattr(keys.hmac, "compare_digest", lambda a, b: compared.append(a) or real(a, b))
    assert find(made[0][0], [key for _, key in made]) is made[0][1]
    assert compared == [key.sha256 for _, key in made]


GOOD = {"name": "a", "scopes": ["score"], "sha256": "0" * 64, "created": "2026-11-22T12:00:00Z"}


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ("{", "not JSON"),
        ({"keys": []}, "'format' is missing"),
        ({"format": "x", "keys": []}, "expected nbest-keys/1"),
        ({"format": "nbest-keys/1", "keys": [{**GOOD, "scopes": ["root"]}]}, "one of score, tune, admin; got 'root'"),
        ({"format": "nbest-keys/1", "keys": [{**GOOD, "sha256": "abc"}]}, "64 hexadecimal digits"),
        ({"format": "nbest-keys/1", "keys": [{**GOOD, "sha256": "é" * 64}]}, "64 hexadecimal digits"),
        ({"format": "nbest-keys/1", "keys": [{**GOOD, "key": "x"}]}, "unknown key"),
        ({"format": "nbest-keys/1", "keys": [GOOD, GOOD]}, "a name stands twice"),
        ({"format": "nbest-keys/1", "keys": [GOOD] * 1001}, "at most 1000"),
    ],
)  # fmt: skip
def test_a_file_that_is_none_of_keys(document: Any, words: str) -> None:
    content = document if isinstance(document, str) else json.dumps(document)
    with pytest.raises(ConfigError, match=re.escape(words)):
        parse_keys(content.encode(), "keys.json")


def test_names_of_keys() -> None:
    for name in ("", "a b", "a\nb", "-a", ".a", "é", "a" * 65, "a\0"):
        with pytest.raises(ConfigError, match="not a name for a key"):
            new_key(name, ["score"], NOW)


def test_who_may_what(locked: Locked) -> None:
    """Every route under every key: the scope it needs, or any."""
    calls: list[tuple[Scope | None, str, str, dict[str, Any]]] = [
        ("score", "POST", "/v1/rescore", {"json": LISTS}),
        ("score", "POST", "/rescore", {"json": LISTS}),
        ("score", "POST", "/v1/score", {"json": {"model": "small", "texts": ["a"]}}),
        ("score", "POST", "/score", {"json": {"model": "small", "texts": ["a"]}}),
        ("score", "POST", "/v1/evaluate", {"json": EVALUATE}),
        ("tune", "PUT", "/v1/weights/mt", {"json": WEIGHTS}),
        ("tune", "DELETE", "/v1/weights/mt", {"headers": {"If-Match": "*"}}),
        (None, "GET", "/v1/weights/asr", {}),
        ("admin", "POST", "/v1/models/small", {}),
        ("admin", "DELETE", "/v1/models/small", {}),
        (None, "GET", "/v1/models/small", {}),
        (None, "GET", "/metrics", {}),
        (None, "GET", "/v1/models", {}),
        (None, "GET", "/models", {}),
        (None, "GET", "/openapi.json", {}),
    ]
    for needed, method, path, more in calls:
        for who in ("score", "tune", "admin", "nothing", "all"):
            answer = locked.ask(method, path, who, **more)
            if needed in (None, who) or who == "all":
                assert answer.status_code in (200, 201, 204, 404), (who, path, answer.text)
            else:
                assert (answer.status_code, answer.json()["type"]) == (403, "forbidden"), (who, path)
                challenge = f'Bearer realm="nbest", error="insufficient_scope", scope="{needed}"'
                assert answer.headers["www-authenticate"] == challenge
        answer = locked.ask(method, path, None, **more)
        assert (answer.status_code, answer.json()["type"]) == (401, "unauthorized")
        assert answer.headers["www-authenticate"] == 'Bearer realm="nbest"'
        assert answer.headers["content-type"] == "application/problem+json"
        assert "x-request-id" in answer.headers


def test_every_route_says_what_it_needs() -> None:
    """A route that is added without a scope is found here."""
    anybody = {"/models", "/v1/models", "/v1/models/{name}", "/v1/weights/{name}", "/metrics"}
    modules = [import_module(f"service.routes.{one.name}") for one in iter_modules(routes.__path__)]
    found = [route for module in modules for route in module.router.routes]
    assert len(found) >= 14
    for route in found:
        scopes = {getattr(one.dependency, "scope", None) for one in route.dependencies} & set(SCOPES)
        reads = route.methods <= {"GET", "HEAD"}
        assert scopes or (reads and (security.is_open(route.path) or route.path in anybody)), route


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/", "/docs", "/web/app.js"])
def test_the_living_signs_and_the_page_need_no_key(locked: Locked, path: str) -> None:
    for _ in range(500):  # /readyz is 503 until the service has begun
        if (answer := locked.ask("GET", path, None)).status_code != 503:
            break
        time.sleep(0.02)
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "path",
    ["/nosuch", "/livez/", "/LIVEZ", "/docs/../v1/models", "/web", "/v1/models/", "/readyz/../v1/models",
     "/web/../v1/models", "/web/%2e%2e/v1/models", "/.%2fv1/models"],
)  # fmt: skip
def test_no_other_spelling_is_open(locked: Locked, path: str) -> None:
    answer = locked.client.get(path, follow_redirects=False)
    assert answer.status_code in (401, 404), answer.text
    assert "models" not in answer.json()


@pytest.mark.parametrize(
    "value",
    ["", "Bearer", "Bearer ", "Bearer x", "Basic bmJlc3Q6bmJlc3Q=", "bearer\tKEY", "Bearer KEY KEY", "KEY", "Token KEY",
     "Bearer KEYx", "Bearer \x7f", "Bearer " + "a" * 50_000, "Bearer KEY, Bearer KEY", "Bearer nbest-" + "A" * 43],
)  # fmt: skip
def test_what_is_no_key_is_refused_and_never_quoted(
    locked: Locked, value: str, caplog: pytest.LogCaptureFixture
) -> None:
    header = value.replace("KEY", locked.texts["all"])
    with caplog.at_level("DEBUG"):
        answer = locked.client.get("/v1/models", headers={"Authorization": header})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == 'Bearer realm="nbest", error="invalid_token"'
    assert locked.texts["all"] not in answer.text + caplog.text
    assert "a" * 100 not in answer.text + caplog.text


@pytest.mark.parametrize(
    "raw", [b"Bearer KEY\0", b"Bearer \xff\xfe", b"Bearer KEY\r\nX-Injected: yes", b"\0"]
)
def test_bytes_that_no_client_would_send(locked: Locked, raw: bytes) -> None:
    """Straight into the application, as a careless server might let them through."""
    import asyncio

    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    header = raw.replace(b"KEY", locked.texts["all"].encode())
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET",
        "path": "/v1/models", "raw_path": b"/v1/models", "query_string": b"", "root_path": "",
        "scheme": "http", "headers": [(b"authorization", header)], "server": ("nbest", 80), "client": ("127.0.0.1", 1),
    }  # fmt: skip
    asyncio.run(locked.client.app(scope, receive, send))  # type: ignore[arg-type]
    assert sent[0]["status"] == 401
    assert b"x-injected" not in dict(sent[0]["headers"])


def test_two_keys_are_none(locked: Locked) -> None:
    text = locked.texts["all"]
    answer = locked.client.get("/v1/models", headers=[("Authorization", f"Bearer {text}")] * 2)
    assert answer.status_code == 401


def test_the_kind_is_read_in_any_case_and_a_body_is_not_waited_for(locked: Locked) -> None:
    text = locked.texts["score"]
    assert locked.client.get("/v1/models", headers={"Authorization": f"bEaReR {text}"}).status_code == 200
    refused = locked.client.post("/v1/rescore", content=b"x" * 10, headers={"Content-Type": "no/such"})
    assert refused.status_code == 401  # before anything is said of the body


def test_keys_come_and_go_without_a_restart(locked: Locked, caplog: pytest.LogCaptureFixture) -> None:
    there = read_keys(locked.path)
    assert locked.ask("GET", "/v1/models", "admin").status_code == 200
    write_keys([key for key in there if key.name != "admin"], locked.path)
    assert locked.ask("GET", "/v1/models", "admin").status_code == 401
    text, key = new_key("late", ["score"], NOW)
    write_keys([*there, key], locked.path)
    assert locked.client.get("/v1/models", headers=bearer(text)).status_code == 200
    locked.path.write_text("{")  # whatever happens, nobody gets in by it
    broken = locked.client.get("/v1/models", headers=bearer(text))
    assert (broken.status_code, broken.json()["type"]) == (503, "invalid-keys")
    assert broken.headers["retry-after"] == "30"
    assert str(locked.path) not in broken.text
    assert str(locked.path) in caplog.text
    assert locked.ask("GET", "/livez", None).status_code == 200
    locked.path.unlink()
    assert locked.ask("GET", "/v1/models", "all").status_code == 503
    write_keys(there, locked.path)
    assert locked.ask("GET", "/v1/models", "all").status_code == 200


def test_no_secret_is_in_the_log_or_an_answer(locked: Locked, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("DEBUG"):
        answers = [
            locked.ask("POST", "/v1/rescore", "all", json=LISTS),
            locked.ask("POST", "/v1/rescore", "tune", json=LISTS),
            locked.ask("GET", "/nosuch", "all"),
            locked.ask("POST", "/v1/rescore", "all", content=b"{"),
        ]
    said = caplog.text + "".join(f"{one.text}{one.headers}" for one in answers)
    for text in locked.texts.values():
        assert text[6:] not in said
        assert sha256_hex(text.encode()) not in said


def test_a_web_page_changes_nothing_in_a_service_without_keys(client: TestClient) -> None:
    """Without keys the operator's browser would let any page ask, under whatever name it reached us."""
    for origin in ("https://elsewhere.example", "http://testserver", "null"):
        answer = client.put("/v1/weights/mt", json=WEIGHTS, headers={"Origin": origin})
        assert (answer.status_code, answer.json()["type"]) == (403, "forbidden")
    assert client.post("/v1/rescore", json=LISTS, headers={"Origin": "http://testserver"}).status_code == 200
    assert client.put("/v1/weights/mt", json=WEIGHTS).status_code == 201


@pytest.mark.parametrize(
    ("address", "changes", "refused"),
    [
        ("127.0.0.1", {}, False), ("127.8.8.8", {}, False), ("::1", {}, False), ("0.0.0.0", {}, True), ("::", {}, True),
        ("192.168.1.5", {}, True), ("fe80::1%eth0", {}, True), ("0.0.0.0", {"no_keys": True}, False),
        ("0.0.0.0", {"published": "127.0.0.1"}, False), ("0.0.0.0", {"published": "0.0.0.0"}, True),
        ("0.0.0.0", {"published": "localhost"}, False), ("127.0.0.1", {"published": "nbest.example"}, True),
        ("0.0.0.0", {"published": ""}, True),
    ],
)  # fmt: skip
def test_beyond_loopback_keys_are_needed(address: str, changes: Any, refused: bool) -> None:
    settings = Settings(**changes)
    if not refused:
        security.check_reach(settings, address)
        return
    with pytest.raises(ConfigError, match="and the service has no keys; expected --keys FILE"):
        security.check_reach(settings, address)


def test_keys_and_none_is_a_contradiction(tmp_path: Path) -> None:
    write_keys([], tmp_path / "keys.json")
    security.check_reach(Settings(keys=tmp_path / "keys.json"), "0.0.0.0")
    with pytest.raises(ConfigError, match="keys, and none"):
        security.check_reach(Settings(keys=tmp_path / "keys.json", no_keys=True), "127.0.0.1")


def test_a_file_of_keys_that_is_broken_stops_the_start(world: Any, tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text("{")
    with pytest.raises(ConfigError, match="not JSON"):
        create_app(world.settings(keys=tmp_path / "keys.json"), opener=world.open_scorer, shipped=["small"])
    with pytest.raises(NotFoundError):
        read_keys(tmp_path / "nosuch.json")


def test_a_file_without_keys_is_said(
    make_client: Callable[..., TestClient], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_keys([], tmp_path / "keys.json")
    assert make_client(keys=tmp_path / "keys.json").get("/v1/models").status_code == 401
    assert "holds no key" in caplog.text


def test_empty_variables_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """As docker compose passes what is not set."""
    for name in ("KEYS", "NO_KEYS", "PUBLISHED", "ACCESS_LOG", "PRELOAD"):
        monkeypatch.setenv(f"NBEST_{name}", "")
    assert Settings() == Settings(keys=None, no_keys=False, published=None, access_log=True, preload=())


WEB = Path(security.__file__).parent / "web"


def test_the_page_asks_for_a_key_and_keeps_it_in_the_session() -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node on this machine")
    program = f"""
    const made = [];
    const element = (tag) => {{
      const one = {{ tag, handlers: {{}}, append() {{}}, remove() {{}}, showModal() {{}},
        addEventListener(name, run) {{ one.handlers[name] = run; }} }};
      made.push(one);
      return one;
    }};
    globalThis.document = {{ createElement: element, body: element("body") }};
    const kept = new Map();
    globalThis.sessionStorage = {{
      getItem: (k) => kept.get(k) ?? null, setItem: (k, v) => kept.set(k, v), removeItem: (k) => kept.delete(k) }};
    const asked = [];
    globalThis.fetch = async (path, {{ headers }} = {{}}) => {{
      asked.push(headers?.Authorization ?? null);
      return {{ status: headers?.Authorization === "Bearer right" ? 200 : 401 }};
    }};
    const {{ withKey }} = await import({json.dumps((WEB / "api.js").as_uri())});
    const answer = async (value) => {{
      await new Promise((resolve) => setTimeout(resolve));
      const find = (tag) => made.findLast((one) => one.tag === tag);
      find("input").value = value;
      if (value === null) find("dialog").handlers.cancel();
      else find("form").handlers.submit({{ preventDefault() {{}} }});
    }};
    const first = withKey("v1/models");
    await answer("wrong");
    await answer(" right ");
    const statuses = [(await first).status, (await withKey("v1/models", {{ headers: {{ A: "b" }} }})).status];
    kept.set("nbest-key", "old");
    const last = withKey("v1/models");
    await answer(null);
    statuses.push((await last).status);
    const words = made.filter((one) => one.tag === "p").map((one) => one.textContent);
    console.log(JSON.stringify([statuses, asked, words, [...kept]]));
    """
    done = subprocess.run(
        [node, "--input-type=module", "-e", program], capture_output=True, text=True, check=True, timeout=60
    )
    statuses, asked, words, kept = json.loads(done.stdout)
    assert statuses == [200, 200, 401]
    assert asked == [None, "Bearer wrong", "Bearer right", "Bearer right", "Bearer old"]
    assert [word.split(";")[0] for word in words] == [
        "The service needs a key", "The service does not take this key.", "The service does not take this key.",
    ]  # fmt: skip
    assert kept == []  # one that is not taken is forgotten
