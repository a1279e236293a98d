"""How the command line writes the settings of `nbest tune`."""

import click

from nbest.errors import ConfigError, shorten


def parse_named(what: str, flag: str, value: str) -> tuple[str, str]:
    """The two sides of ``NAME=VALUE``."""
    name, equals, rest = value.rpartition("=")
    if not (name and equals):
        raise ConfigError(f"not a {what}", where=flag, expected=f"NAME={what.upper()}", got=shorten(value))
    return name, rest


def parse_fixed(
    _context: click.Context, _option: click.Parameter, values: tuple[str, ...]
) -> dict[str, float]:
    """``--fix NAME=WEIGHT``."""
    from rescoring.formats.numbers import finite

    fixed: dict[str, float] = {}
    for value in values:
        name, number = parse_named("weight", "--fix", value)
        if name in fixed:
            raise ConfigError("a weight is fixed twice", where="--fix", got=shorten(name))
        fixed[name] = finite(number, f"the weight of {shorten(name)}", "--fix")
    return fixed


def parse_ranges(
    _context: click.Context, _option: click.Parameter, values: tuple[str, ...]
) -> dict[str, tuple[float, float]]:
    """``--range NAME=LOW:HIGH``; an end left out is open."""
    from rescoring.formats.numbers import finite

    ranges: dict[str, tuple[float, float]] = {}
    for value in values:
        name, ends = parse_named("range", "--range", value)
        low, colon, high = ends.partition(":")
        if not colon or name in ranges:
            problem = "a range is given twice" if name in ranges else "not a range"
            raise ConfigError(problem, where="--range", expected="NAME=LOW:HIGH, once", got=shorten(value))
        what = f"an end of the range of {shorten(name)}"
        ranges[name] = (
            finite(low, what, "--range") if low else -float("inf"),
            finite(high, what, "--range") if high else float("inf"),
        )
    return ranges


def parse_values(_context: click.Context, option: click.Parameter, value: str) -> tuple[float, ...]:
    """``7:17`` every whole number, or ``0,0.5,1`` these."""
    from rescoring.formats.numbers import finite

    low, colon, high = value.partition(":")
    flag = max(option.opts, key=len)
    if colon and low.isdecimal() and high.isdecimal() and int(low) <= int(high) < int(low) + 1000:
        return tuple(map(float, range(int(low), int(high) + 1)))
    if colon:
        raise ConfigError(
            "not a range of whole numbers", where=flag, expected="such as 7:17", got=shorten(value)
        )
    return tuple(finite(one, "a value of the grid", flag) for one in value.split(","))
