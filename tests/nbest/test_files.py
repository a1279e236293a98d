"""Bytes and lines in and out, with every way in which a file can be broken."""

import bz2
import gzip
import io
import lzma
import os
import stat
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from nbest.errors import ConfigError, FormatError, InputError, NotFoundError
from nbest.files import (
    COMPRESSED,
    MAX_LINE_BYTES,
    _zstd,
    check_output,
    check_output_directory,
    check_rereadable,
    decode_lines,
    open_bytes,
    read_lines,
    write_whole,
    write_whole_directory,
)

COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "": lambda data: data,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": _zstd().compress,
}


def lines_of(data: bytes) -> list[str]:
    return [line for _, line in decode_lines(io.BytesIO(data), "x")]


class _Standard:
    """Stands in for sys.stdin and sys.stdout: what matters is the byte buffer below."""

    def __init__(self, data: bytes = b"") -> None:
        self.buffer = io.BytesIO(data)


# Reading


@pytest.mark.parametrize("suffix", COMPRESSORS)
def test_lines_are_numbered_from_one_whatever_the_compression(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"lists{suffix}"
    path.write_bytes(COMPRESSORS[suffix]("erste\nzweite Zeile\nПривет".encode()))
    assert list(read_lines(path)) == [(1, "erste"), (2, "zweite Zeile"), (3, "Привет")]


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"", []),
        (b"\n", [""]),
        (b"a\n\nb", ["a", "", "b"]),
        (b"a\r\nb\r\n", ["a", "b"]),
        (b"a\rb\n", ["a\rb"]),
        (b"a\r\r\n", ["a\r"]),
        (b"a \n", ["a "]),
        ("a\u2028b\u2029c\x85d\x0be\x0cf\x1cg\n".encode(), ["a\u2028b\u2029c\x85d\x0be\x0cf\x1cg"]),
        ("\ufeffa\n\ufeffb\n".encode(), ["a", "\ufeffb"]),
        (b"a\x00b\n", ["a\x00b"]),
    ],
)
def test_lines_end_at_a_newline_only(data: bytes, lines: list[str]) -> None:
    assert lines_of(data) == lines


def test_a_line_of_ten_megabytes_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "long.gz"
    long = "wort " * 2_000_000
    path.write_bytes(gzip.compress(f"a\n{long}\nb\n".encode(), 1))
    assert [len(line) for _, line in read_lines(path)] == [1, 10_000_000, 1]


def test_a_line_above_the_limit_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nbest.files.MAX_LINE_BYTES", 8)
    assert lines_of(b"1234567\n12345678") == ["1234567", "12345678"]
    with pytest.raises(FormatError, match=r"x:2: line too long; expected at most 8 bytes"):
        lines_of(b"a\n123456789\n")
    assert MAX_LINE_BYTES == 64 * 1024 * 1024


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            b"ok\ncaf\xe9 noir\n",
            "x:2: invalid UTF-8; expected UTF-8 text; got byte 0xe9 at byte 4 of the line",
        ),
        (b"\xff\xfea\x00\n", "x:1: invalid UTF-8; expected UTF-8 text; got byte 0xff at byte 1 of the line"),
        (b"a\nb\n\xe2\x80", "x:3: invalid UTF-8; expected UTF-8 text; got byte 0xe2 at byte 1 of the line"),
        # a surrogate, and an overlong slash: well-formed to a lax decoder
        (b"\xed\xa0\x80\n", "x:1: invalid UTF-8; expected UTF-8 text; got byte 0xed at byte 1 of the line"),
        (b"\xc0\xaf\n", "x:1: invalid UTF-8; expected UTF-8 text; got byte 0xc0 at byte 1 of the line"),
    ],
)
def test_invalid_utf8_names_the_line_and_the_byte(data: bytes, message: str) -> None:
    with pytest.raises(FormatError) as caught:
        lines_of(data)
    assert str(caught.value) == message


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz", ".zst"])
@pytest.mark.parametrize("kept", [0, 3, 0.5, -1])
def test_a_truncated_stream_is_an_error_not_a_short_file(tmp_path: Path, suffix: str, kept: float) -> None:
    whole = COMPRESSORS[suffix](b"".join(b"%d ||| text %d\n" % (n, n * n) for n in range(2000)))
    path = tmp_path / f"lists{suffix}"
    path.write_bytes(whole[: int(len(whole) * kept) if isinstance(kept, float) else kept])
    with pytest.raises(FormatError, match=f"lists{suffix}.*stream"):
        list(read_lines(path))


def test_lines_before_the_broken_place_come_out_and_the_error_names_the_next(tmp_path: Path) -> None:
    whole = gzip.compress(b"".join(b"%d ||| text %d\n" % (n, n * n) for n in range(50_000)))
    path = tmp_path / "lists.gz"
    path.write_bytes(whole[: len(whole) // 2])
    seen = 0
    with pytest.raises(FormatError) as caught:
        for number, _ in read_lines(path):
            seen = number
    assert seen > 20_000
    assert caught.value.where == f"{path}:{seen + 1}"


def test_zstd_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("compression.zstd", "backports.zstd"):
        monkeypatch.setitem(sys.modules, name, None)
    for use in (open_bytes, check_output):
        with pytest.raises(ConfigError) as caught:
            use(tmp_path / "x.zst")
        assert str(caught.value) == (
            ".zst: zstd is not installed; expected Python 3.14, or pip install 'nbest[zstd]'"
        )


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("plain.gz", b"0 ||| not packed\n"),
        ("plain.bz2", b"0 ||| not packed\n"),
        ("plain.xz", b"0 ||| not packed\n"),
        ("plain.zst", b"0 ||| not packed\n"),
        ("garbage-behind.gz", gzip.compress(b"a\n") + b"garbage"),
        ("flipped.gz", gzip.compress(b"a\n")[:-6] + b"\0\0\0\0\0\0"),
    ],
)
def test_a_wrong_stream_is_a_format_error(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(FormatError, match=f"{name}:[12]: broken or truncated stream"):
        list(read_lines(tmp_path / name))


def test_concatenated_gzip_members_are_one_stream(tmp_path: Path) -> None:
    path = tmp_path / "two.gz"
    path.write_bytes(gzip.compress(b"a\n") + gzip.compress(b"b\n"))
    assert [line for _, line in read_lines(path)] == ["a", "b"]


def test_what_cannot_be_opened_says_why(tmp_path: Path) -> None:
    for suffix in COMPRESSORS:
        with pytest.raises(NotFoundError, match=f"none{suffix}: no such file"):
            open_bytes(tmp_path / f"none{suffix}")
        folder = tmp_path / f"folder{suffix}"
        folder.mkdir()
        with pytest.raises(FormatError, match="is a directory; expected a file"):
            open_bytes(folder)
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(InputError, match="cannot be read: Too many levels of symbolic links"):
        open_bytes(loop)


def test_what_is_read_again_must_be_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    check_rereadable(tmp_path / "file")
    for stream in ("-", tmp_path / "pipe", "/dev/null"):
        with pytest.raises(InputError, match="cannot be read more than once; expected a file"):
            check_rereadable(stream)
    with pytest.raises(FormatError, match="is a directory; expected a file"):
        check_rereadable(tmp_path)
    with pytest.raises(NotFoundError, match="no such file"):
        check_rereadable(tmp_path / "no")


def test_standard_input_stays_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", _Standard(b"a\nb\xff\n"))
    with pytest.raises(FormatError, match="<stdin>:2: invalid UTF-8"):
        list(read_lines("-"))
    with open_bytes("-") as stream:
        assert stream.read() == b""
    assert not sys.stdin.buffer.closed


# Writing


@pytest.mark.parametrize("suffix", COMPRESSORS)
def test_what_is_written_is_read_back(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    with write_whole(path) as stream:
        stream.write("0 ||| grün\n".encode())
        stream.write(b"1 ||| x\n" * 1000)
        assert not path.exists()
    assert [line for _, line in read_lines(path)] == ["0 ||| grün", *["1 ||| x"] * 1000]
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("suffix", COMPRESSORS)
def test_equal_content_is_equal_bytes(tmp_path: Path, suffix: str) -> None:
    for name in ("one", "another-name"):
        with write_whole(tmp_path / f"{name}{suffix}") as stream:
            stream.write(b"0 ||| a\n" * 500)
    assert (tmp_path / f"one{suffix}").read_bytes() == (tmp_path / f"another-name{suffix}").read_bytes()


def test_gzip_carries_neither_time_nor_name(tmp_path: Path) -> None:
    with write_whole(tmp_path / "out.gz") as stream:
        stream.write(b"a")
    header = (tmp_path / "out.gz").read_bytes()[:10]
    assert header[3] == 0, "flags: no name, no comment"
    assert header[4:8] == b"\0\0\0\0", "modification time"


@pytest.mark.parametrize("suffix", COMPRESSORS)
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_an_error_leaves_the_old_file_and_no_trace(
    tmp_path: Path, suffix: str, error: type[BaseException]
) -> None:
    path = tmp_path / f"out{suffix}"
    path.write_bytes(b"old")

    def fail() -> None:
        with write_whole(path) as stream:
            stream.write(b"new" * 1_000_000)
            raise error

    with pytest.raises(error):
        fail()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == [path.name]


def test_a_generator_that_is_dropped_in_the_middle_leaves_no_trace(tmp_path: Path) -> None:
    def rows():
        with write_whole(tmp_path / "out.gz") as stream:
            stream.write(b"a")
            yield

    generator = rows()
    next(generator)
    generator.close()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("suffix", COMPRESSORS)
def test_a_text_wrapper_may_close_the_stream(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    with write_whole(path) as stream, io.TextIOWrapper(stream, encoding="utf-8", newline="\n") as text:
        text.write("grün\n")
    assert [line for _, line in read_lines(path)] == ["grün"]


def test_concurrent_writers_never_mix(tmp_path: Path) -> None:
    path = tmp_path / "out"
    barrier = threading.Barrier(8)

    def write(letter: bytes) -> None:
        barrier.wait()
        with write_whole(path) as stream:
            for _ in range(200):
                stream.write(letter * 1000)

    threads = [threading.Thread(target=write, args=(bytes([97 + n]),)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    data = path.read_bytes()
    assert len(data) == 200_000
    assert len(set(data)) == 1
    assert os.listdir(tmp_path) == ["out"]


def test_permissions_follow_the_umask_and_an_existing_file_keeps_its_own(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        with write_whole(tmp_path / "new") as stream:
            stream.write(b"a")
        (tmp_path / "private").touch(mode=0o600)
        with write_whole(tmp_path / "private") as stream:
            stream.write(b"a")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "private").stat().st_mode) == 0o600


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")
    with write_whole(tmp_path / "link") as stream:
        stream.write(b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"


def test_a_device_or_a_pipe_is_written_to_not_replaced(tmp_path: Path) -> None:
    with write_whole("/dev/null") as stream:
        stream.write(b"gone")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    with write_whole(pipe) as stream:
        stream.write(b"through")
    reader.join()
    assert got == [b"through"]
    assert os.listdir(tmp_path) == ["pipe"]


@pytest.mark.parametrize("suffix", COMPRESSED)
def test_a_packed_file_whose_name_does_not_say_so(tmp_path: Path, suffix: str) -> None:
    with write_whole(tmp_path / f"packed{suffix}") as stream:
        stream.write(b"a text\n" * 100)
    (tmp_path / f"packed{suffix}").rename(tmp_path / "plain")
    with pytest.raises(
        FormatError, match=f"plain:1: invalid UTF-8.*packed: unpack it, or call it NAME{suffix}"
    ):
        list(read_lines(tmp_path / "plain"))


def test_a_place_that_cannot_be_written_is_said_before_the_work_begins(tmp_path: Path) -> None:
    begun = False
    with pytest.raises(NotFoundError, match="no such directory"):
        with write_whole(tmp_path / "no" / "out"):
            begun = True
    with pytest.raises(InputError, match="is a directory; expected a file name"):
        with write_whole(tmp_path):
            begun = True
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written: Not a directory"):
        with write_whole(tmp_path / "file" / "out"):
            begun = True
    with pytest.raises(NotFoundError, match="no such directory"):
        with write_whole_directory(tmp_path / "no" / "out"):
            begun = True
    with pytest.raises(
        InputError, match="a directory cannot go to standard output; expected a new directory's name"
    ):
        with write_whole_directory("-"):
            begun = True
    assert not begun


def test_a_place_is_checked_without_a_trace(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    for name in ("file", "new"):
        check_output(tmp_path / name)
    for standard in ("-", "/dev/stdout", "/dev/full"):
        check_output(standard)
    check_output_directory(tmp_path / "new")
    with pytest.raises(NotFoundError, match="no such directory"):
        check_output(tmp_path / "no" / "out")
    with pytest.raises(NotFoundError, match="no such directory"):
        check_output_directory(tmp_path / "no" / "out")
    with pytest.raises(InputError, match="is a directory; expected a file name"):
        check_output(tmp_path)
    with pytest.raises(InputError, match="is a directory in use"):
        check_output_directory(tmp_path)
    assert os.listdir(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "old"


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_full_device_is_named(tmp_path: Path, suffix: str) -> None:
    full = tmp_path / f"full{suffix}"
    full.symlink_to("/dev/full")
    with pytest.raises(InputError, match=f"^{full}: cannot be written: No space left on device$"):
        with write_whole(full) as stream:
            stream.write(b"x")


def test_a_closed_standard_output_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(InputError, match="standard output is closed"):
        with write_whole("-"):
            pass


@pytest.mark.parametrize("name", ["-", "/dev/stdout"])
def test_standard_output_is_flushed_and_stays_open(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(sys, "stdout", _Standard())
    with write_whole(name) as stream, io.TextIOWrapper(stream, encoding="utf-8") as text:
        text.write("grün")
    assert sys.stdout.buffer.getvalue() == "grün".encode()


# Directories


def test_a_directory_appears_whole(tmp_path: Path) -> None:
    target = tmp_path / "model"
    with write_whole_directory(target) as fresh:
        (fresh / "config.json").write_text("{}")
        (fresh / "sub").mkdir()
        (fresh / "sub" / "x").write_text("x")
        assert not target.exists()
    assert sorted(p.name for p in target.rglob("*")) == ["config.json", "sub", "x"]
    assert os.listdir(tmp_path) == ["model"]
    assert stat.S_IMODE(target.stat().st_mode) == 0o777 & ~_umask()


def _umask() -> int:
    now = os.umask(0)
    os.umask(now)
    return now


def test_an_old_directory_is_replaced_at_the_end_only(tmp_path: Path) -> None:
    target = tmp_path / "model"
    target.mkdir()
    (target / "old").touch()
    with write_whole_directory(target, replaces=["old"]) as fresh:
        (fresh / "new").touch()
        assert os.listdir(target) == ["old"]
    assert os.listdir(target) == ["new"]
    assert os.listdir(tmp_path) == ["model"]


def test_an_error_leaves_the_old_directory(tmp_path: Path) -> None:
    target = tmp_path / "model"
    target.mkdir()
    (target / "old").touch()

    def fail() -> None:
        with write_whole_directory(target, replaces=["old"]) as fresh:
            (fresh / "new").touch()
            raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        fail()
    assert os.listdir(target) == ["old"]
    assert os.listdir(tmp_path) == ["model"]


def test_the_old_directory_is_put_back_when_the_new_one_cannot_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "model"
    target.mkdir()
    (target / "old").touch()
    rename = Path.rename

    def refuse(self: Path, to: Path) -> Path:
        if self.name == "new":
            raise PermissionError(1, "refused")
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(InputError, match="model: cannot be written: refused"):
        with write_whole_directory(target, replaces=["old"]) as fresh:
            (fresh / "new-file").touch()
    assert os.listdir(target) == ["old"]
    assert os.listdir(tmp_path) == ["model"]


def test_an_interrupt_between_the_two_moves_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "model"
    target.mkdir()
    (target / "old").touch()
    rename = Path.rename

    def interrupted(self: Path, to: Path) -> Path:
        moved = rename(self, to)
        if self == target:
            raise KeyboardInterrupt
        return moved

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        with write_whole_directory(target, replaces=["old"]) as fresh:
            (fresh / "new-file").touch()
    assert os.listdir(target) == ["old"]
    assert os.listdir(tmp_path) == ["model"]


def test_a_file_or_a_foreign_directory_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="is a file; expected a directory or a new name"):
        with write_whole_directory(tmp_path / "file"):
            pass
    home = tmp_path / "home"
    home.mkdir()
    with write_whole_directory(home) as fresh:  # empty: nothing to lose
        (fresh / "thesis.tex").touch()
    for patterns in ((), ("num_jobs", "archives.*")):
        with pytest.raises(InputError, match=r"directory in use; expected a new name; got 'thesis\.tex'"):
            with write_whole_directory(home, replaces=patterns):
                pytest.fail("refused before the work begins")
    (home / "num_jobs").touch()  # one familiar name does not make the others ours
    with pytest.raises(InputError, match="is a directory in use"):
        with write_whole_directory(home, replaces=("num_jobs", "archives.*")):
            pass
    assert sorted(os.listdir(home)) == ["num_jobs", "thesis.tex"]


def test_what_came_while_writing_is_not_lost(tmp_path: Path) -> None:
    target = tmp_path / "model"
    with pytest.raises(InputError, match="is a directory in use"):
        with write_whole_directory(target) as fresh:
            (fresh / "a").touch()
            target.mkdir()
            (target / "precious").touch()
    assert os.listdir(target) == ["precious"]


def test_concurrent_directories_never_mix(tmp_path: Path) -> None:
    target = tmp_path / "model"
    barrier = threading.Barrier(6)
    errors: list[BaseException] = []

    def write(name: str) -> None:
        try:
            with write_whole_directory(target, replaces=["a", "b"]) as fresh:
                (fresh / "a").write_text(name)
                (fresh / "b").write_text(name)
                barrier.wait()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(str(n),)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert (target / "a").read_text() == (target / "b").read_text()
    assert os.listdir(tmp_path) == ["model"]


def test_real_lists_are_read_to_the_last_line(shared: Path) -> None:
    path = shared / "data" / "mt" / "dev.dup.nbest.gz"
    numbers = [number for number, line in read_lines(path) if " ||| " in line]
    assert numbers == list(range(1, 202_801))  # ../shared/data/README.md: 202,800 lines
