"""The floor plan, enforced: who may import whom, no cycles, no torch where it is not needed."""

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ALLOWED: dict[str, set[str]] = {
    "nbest": {"nbest"},
    "rescoring": {"rescoring", "nbest"},
    "models": {"models", "nbest"},
    "service": {"service", "rescoring", "models", "nbest"},
}
OUTSIDE = {"tests", "benchmarks", "examples", "scripts", "nbest_client"}  # never imported by a room


# The checker: functions on sources, so that it can be fed bad ones


def read_sources(root: Path) -> dict[str, str]:
    """Module name -> source of every file of the four rooms; a package's name stands for its __init__."""
    sources = {}
    for room in ALLOWED:
        for path in sorted((root / room).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            sources[name] = path.read_text("utf-8")
    return sources


def is_package(name: str, sources: Mapping[str, str]) -> bool:
    return name in ALLOWED or any(other.startswith(f"{name}.") for other in sources)


def imports(name: str, tree: ast.AST, package: bool) -> Iterator[tuple[int, str, str]]:
    """(line, module, imported name or "") for each import below `tree`, relative ones resolved."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = name.split(".")[: len(name.split(".")) - node.level + package]
            base = above if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((node.lineno, module, alias.name) for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            argument = node.args[0] if node.args else None
            if isinstance(argument, ast.JoinedStr) and argument.values:
                argument = argument.values[0]
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                yield node.lineno, argument.value, ""


def forbidden_arrows(sources: Mapping[str, str]) -> list[str]:
    """Each import, wherever it stands in its file, that the floor plan has no arrow for."""
    found = []
    for name, source in sources.items():
        room = name.split(".")[0]
        for line, module, _ in imports(name, ast.parse(source), is_package(name, sources)):
            other = module.split(".")[0]
            if other in OUTSIDE or (other in ALLOWED and other not in ALLOWED[room]):
                found.append(f"{name}:{line} imports {module}")
    return found


def import_time(tree: ast.Module) -> ast.Module:
    """The module without the bodies of its functions: what runs when it is imported."""

    class Strip(ast.NodeTransformer):
        def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
            return ast.Pass()

        def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
            return ast.Pass()

    return ast.fix_missing_locations(Strip().visit(tree))


def cycles(sources: Mapping[str, str]) -> list[str]:
    """Each cycle among files that import one another at import time, as ``a -> b -> a``.

    That importing a.b also runs a's __init__ is no arrow here, else no package could gather its own files.
    """
    graph: dict[str, set[str]] = {name: set() for name in sources}
    for name, source in sources.items():
        for _, module, what in imports(name, import_time(ast.parse(source)), is_package(name, sources)):
            target = f"{module}.{what}" if f"{module}.{what}" in sources else module
            if target in sources:
                graph[name].add(target)
    done: set[str] = set()
    found: list[str] = []

    def walk(name: str, trail: list[str]) -> None:
        if name in trail:
            found.append(" -> ".join([*trail[trail.index(name) :], name]))
        elif name not in done:
            for target in sorted(graph[name]):
                walk(target, [*trail, name])
            done.add(name)

    for name in sorted(graph):
        walk(name, [])
    return found


# The repository


def test_every_arrow_is_on_the_plan(repository: Path) -> None:
    assert forbidden_arrows(read_sources(repository)) == []


def test_there_is_no_cycle(repository: Path) -> None:
    assert cycles(read_sources(repository)) == []


def test_all_rooms_were_read(repository: Path) -> None:
    names = read_sources(repository)
    assert {"nbest.errors", "rescoring.scorer", "models", "service"} <= set(names)


def loaded_by(repository: Path, code: str, *roots: str) -> set[str]:
    """Which of `roots` are loaded after a fresh Python has run `code`."""
    program = f"import sys\n{code}\nprint(*sorted(set({roots!r}) & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


IMPORT_ALL = """
import importlib, pkgutil
package = importlib.import_module({name!r})
for module in pkgutil.walk_packages(package.__path__, {name!r} + "."):
    importlib.import_module(module.name)
"""


@pytest.mark.parametrize(
    ("room", "without"),
    [
        ("nbest", ("torch", "numpy", "fastapi", "pydantic", "click")),
        ("rescoring", ("torch", "fastapi", "uvicorn", "click", "models", "service")),
        ("models", ("fastapi", "uvicorn", "rescoring", "service")),
    ],
)
def test_a_room_loads_without_what_it_does_not_need(
    repository: Path, room: str, without: tuple[str, ...]
) -> None:
    assert loaded_by(repository, IMPORT_ALL.format(name=room), *without) == set()


def test_the_command_line_helps_without_torch(repository: Path) -> None:
    code = """
from service.cli.main import main
sys.argv = ["nbest", "--help"]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
"""
    heavy = ("torch", "fastapi", "uvicorn", "numpy", "sacrebleu", "jiwer")
    assert loaded_by(repository, code, *heavy) == set()


# The checker itself


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("nbest.files", "import rescoring"),
        ("nbest.files", "from models.checkpoint import describe"),
        ("rescoring.features", "import models.catalog as m"),
        ("rescoring.features", "import numpy, service.app"),
        ("rescoring.features", "def f():\n    from models import catalog"),
        ("rescoring.features", "if TYPE_CHECKING:\n    from service.settings import Settings"),
        ("models.catalog", "try:\n    import rescoring.scorer\nexcept ImportError:\n    pass"),
        ("models.catalog", "importlib.import_module('service.app')"),
        ("models.catalog", "import_module(f'rescoring.formats.{name}')"),
        ("models.catalog", "__import__('service')"),
        ("service.app", "from tests.conftest import REPOSITORY"),
    ],
)
def test_an_arrow_off_the_plan_is_seen(name: str, source: str) -> None:
    (message,) = forbidden_arrows({name: source})
    assert message.startswith(f"{name}:")


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("service.app", "import models.catalog, rescoring, nbest.errors\nfrom service import routes"),
        ("models.catalog", "from nbest import errors\nimport torch\nfrom .config import X\nfrom . import y"),
        ("rescoring.features", "service = 1\nmodels = 'models'\nfrom modelsandmore import x"),
        ("models.scoring.scorer", "from ..config import X\nfrom .. import checkpoint"),
    ],
)
def test_what_is_on_the_plan_passes(name: str, source: str) -> None:
    assert forbidden_arrows({name: source}) == []


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        ({"models.a": "import models.a"}, ["models.a -> models.a"]),
        (
            {"models.a": "from models import b", "models.b": "from models.a import f"},
            ["models.a -> models.b -> models.a"],
        ),
        (
            {
                "models.a": "from . import b",
                "models.b": "from .c import f",
                "models.c": "class X:\n    from .a import f",
            },
            ["models.a -> models.b -> models.c -> models.a"],
        ),
        (
            {"models.p": "from models.p.a import f", "models.p.a": "from models.p import g"},
            ["models.p -> models.p.a -> models.p"],
        ),
        (
            {"models.p": "from .a import f", "models.p.a": "from . import g"},
            ["models.p -> models.p.a -> models.p"],
        ),
        ({"models.p": "from .a import f", "models.p.a": "from .b import g", "models.p.b": ""}, []),
        ({"models.a": "def f():\n    import models.b", "models.b": "import models.a"}, []),
        ({"models.a": "from models import b, c", "models.b": "from models import c", "models.c": ""}, []),
    ],
)
def test_cycles_are_seen(sources: dict[str, str], expected: list[str]) -> None:
    assert cycles(sources) == expected


def test_torch_is_seen_where_it_is_loaded(repository: Path) -> None:
    assert loaded_by(repository, "import json", "json", "torch") == {"json"}
