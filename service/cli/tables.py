"""Tables of plain text: words to the left, numbers to the right."""

import re
from collections.abc import Container, Sequence

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def shown(text: str) -> str:
    """Words of a file for a terminal: what would move its cursor or change its colours is U+FFFD."""
    return _CONTROL.sub("\ufffd", text)


def table(header: Sequence[str], rows: Sequence[Sequence[str]], left: Container[int] = (0,)) -> list[str]:
    """The lines of a table; columns are as wide as their widest cell, those in `left` begin at the left."""
    cells = [[shown(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    return [
        "  ".join(
            cell.ljust(width) if place in left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
