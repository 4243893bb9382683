"""How `--help` is laid out: options and commands under headings, every line whole.

In    commands and options, whose `rich_help_panel` is the heading that they stand under.
Out   plain text, without rich: its import would take twice as long as the whole help does now.
"""

from collections.abc import Iterable
from typing import Any

from typer.core import TyperCommand, TyperGroup

FEW = 8  # options that need no headings
BRACES = str.maketrans("", "", "{}")


class HelpPage(TyperCommand):
    """A command whose options stand under headings, where there are more than a few."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        _write_options(self.get_params(ctx), ctx, formatter)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Arguments by the names that the texts use, without Typer's braces around the required ones."""
        return [piece.translate(BRACES) for piece in super().collect_usage_pieces(ctx)]

    def format_help_text(self, ctx: Any, formatter: Any) -> None:
        _write_text(self.help or "", formatter)


class HelpIndex(TyperGroup):
    """A group whose commands stand under headings, each with its whole summary."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        _write_options(self.get_params(ctx), ctx, formatter)
        self.format_commands(ctx, formatter)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        commands = [(name, self.commands[name]) for name in self.list_commands(ctx)]
        commands = [(name, command) for name, command in commands if not command.hidden]
        width = max(len(name) for name, _ in commands)
        rows = [
            (getattr(command, "rich_help_panel", None) or "Commands", (name.ljust(width), summary(command)))
            for name, command in commands
        ]
        _write_under_headings(rows, formatter)


def summary(command: Any) -> str:
    """The first paragraph of its help, on one line."""
    return " ".join((command.help or "").split("\n\n")[0].split())


def _write_text(text: str, formatter: Any) -> None:
    """An example is a line to copy, and stays one."""
    formatter.write_paragraph()
    with formatter.indentation():
        formatter.write_text(text.replace("Example: ", "\b\nExample: "))


def _write_options(params: Iterable[Any], ctx: Any, formatter: Any) -> None:
    shown = [(param, record) for param in params if (record := param.get_help_record(ctx)) is not None]
    arguments = [record for param, record in shown if param.param_type_name == "argument"]
    options = [(param, record) for param, record in shown if param.param_type_name == "option"]
    grouped = len(options) > FEW
    rows = [("Arguments", record) for record in arguments]
    for param, record in options:
        heading = getattr(param, "rich_help_panel", None) if grouped else None
        rows.append((heading or "Options", record))
    _write_under_headings(rows, formatter)


def _write_under_headings(rows: Iterable[tuple[str, tuple[str, str]]], formatter: Any) -> None:
    """Headings in the order of their first rows."""
    under: dict[str, list[tuple[str, str]]] = {}
    for heading, row in rows:
        under.setdefault(heading, []).append(row)
    for heading, records in under.items():
        with formatter.section(heading):
            formatter.write_dl(records)
