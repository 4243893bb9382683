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


# Controls; formats, which turn text or hide in it; bytes that are not text; what no font has; ends of lines.
HIDDEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
JOINERS = "\u200c\u200d"  # are formats, too, but Persian, Hindi and emoji are not written without them


def is_hidden(char: str) -> bool:
    return unicodedata.category(char) in HIDDEN and char not in JOINERS


def visible(text: str, encoding: str = "utf-8") -> str:
    """What would move the cursor, colour, end a line, turn the text or be unseen is shown as an escape, such
    as `\\x1b[31m`, and so is what `encoding` cannot write. Bytes of a name that are not UTF-8 are `\\xff`.
    """
    if not text.isprintable():  # most names are: only the others are looked at by letter
        text = "".join(_escape(c) if is_hidden(c) else c for c in text)
    return text.encode(encoding, "backslashreplace").decode(encoding)


def _escape(char: str) -> str:
    code = ord(char)
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else char.encode("unicode_escape").decode()


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
