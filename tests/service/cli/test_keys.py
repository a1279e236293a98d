"""nbest keys: made, listed, taken back; the text of a key is seen once."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from service.cli.main import nbest
from service.keys import find, read_keys


def run(*words: str | Path, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(nbest, ["keys", *map(str, words)], env=env)


def test_made_listed_and_taken_back(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    made = run("create", "decoder", "--keys", path)
    assert (made.exit_code, made.stderr) == (0, "")
    assert re.fullmatch(r"nbest-[A-Za-z0-9_-]{43}\n", made.stdout)
    both = run("create", "tuner", "--scope", "tune", "--scope", "score", env={"NBEST_KEYS": str(path)})
    keys = read_keys(path)
    assert [(key.name, key.scopes) for key in keys] == [("decoder", ("score",)), ("tuner", ("score", "tune"))]
    assert find(both.stdout.strip(), keys) == keys[1]
    listed = run("list", "--keys", path).stdout
    assert re.fullmatch(r"decoder\tscore\t20\S+Z\ntuner\tscore,tune\t20\S+Z\n", listed)
    assert made.stdout.strip()[6:] not in listed + path.read_text()
    assert run("revoke", "decoder", "--keys", path).exit_code == 0
    assert [key.name for key in read_keys(path)] == ["tuner"]
    assert sorted(one.name for one in tmp_path.iterdir()) == ["keys.json"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["create", "decoder"], "there is a key of that name"),
        (["create", "a b"], "not a name for a key"),
        (["revoke", "nobody"], "no such key; expected one of decoder; got 'nobody'"),
    ],
)
def test_what_cannot_be_done(tmp_path: Path, words: list[str], said: str) -> None:
    path = tmp_path / "keys.json"
    run("create", "decoder", "--keys", path)
    before = path.read_bytes()
    done = run(*words, "--keys", path)
    assert done.exit_code == 2
    assert said in done.stderr
    assert path.read_bytes() == before


def test_without_a_file_nothing_is_guessed(tmp_path: Path) -> None:
    assert "Missing option '--keys'" in run("list").stderr
    for command in (["list"], ["revoke", "a"]):
        done = run(*command, "--keys", tmp_path / "nosuch.json")
        assert (done.exit_code, "no such file" in done.stderr) == (2, True)
    assert run("create", "a", "--keys", tmp_path / "no" / "keys.json").exit_code == 2
    (tmp_path / "other.json").write_text("[1]")
    done = run("create", "a", "--keys", tmp_path / "other.json")
    assert (done.exit_code, (tmp_path / "other.json").read_text()) == (2, "[1]")
