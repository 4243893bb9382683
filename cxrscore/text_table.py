"""What a command prints for a person: sentences and tables of text, before anyone knows where they go.

In    rows of cells, sentences.
Out   blocks, and the same as plain text for a pipe or a file; on a terminal terminal.py draws them.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class TextTable:
    """Rows of cells, the first column aligned to the left, the others to the right.

    `headed`: the first row names the columns. The rest is about plain text: each column's least width (0
    where none is given; a header is cut to it), what stands between columns, and before a row.
    """

    rows: Sequence[Sequence[str]]
    headed: bool = False
    widths: Sequence[int] = ()
    gap: str = "  "
    indent: str = ""


Block = str | TextTable


BIDI = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"  # they turn the text around them


def visible(text: str) -> str:
    """What would move the cursor, colour, end a line or turn the text is shown as an escape: `\\x1b[31m`."""
    hidden = {c for c in text if unicodedata.category(c) in ("Cc", "Zl", "Zp") or c in BIDI}
    return (
        "".join(c.encode("unicode_escape").decode() if c in hidden else c for c in text) if hidden else text
    )


def plain_text(blocks: Sequence[Block]) -> str:
    """One line per sentence and row."""
    return "\n".join(
        visible(line) for block in blocks for line in ([block] if isinstance(block, str) else _lines(block))
    )


def column_widths(rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(len, column)) for column in zip(*rows, strict=True)]


def _lines(table: TextTable) -> list[str]:
    lines = []
    for i, row in enumerate(table.rows):
        cells = []
        for j, cell in enumerate(row):
            width = table.widths[j] if j < len(table.widths) else 0
            shown = cell[:width] if table.headed and i == 0 else cell
            cells.append(shown.rjust(width) if j else shown.ljust(width))
        lines.append(table.indent + table.gap.join(cells))
    return lines
