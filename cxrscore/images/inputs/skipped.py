"""Which names are never images, and the words for what a listing leaves out.

In    a name in a folder or an archive.
Out   whether it is left out, and the reason as a person reads it.
"""

from collections import Counter

HIDDEN = "hidden or system files"
DOWNLOADS = "partial downloads"
TEXTS = "tables or text files"
SPECIAL = "neither files nor folders"
OUTSIDE = "links out of the folder"
LISTED = "links to folders that are listed"
UNENTERED = "folders that the pattern matches and does not enter (** does)"
OUTPUTS = "outputs of this run"
CLUTTER = frozenset({"thumbs.db", "desktop.ini", "@eadir", "__macosx"})
PARTIAL = (".tmp", ".part", ".partial", ".crdownload", ".download")
TABLES, TREES = (".csv", ".tsv", ".parquet"), (".json", ".jsonl", ".yaml", ".yml", ".html", ".htm", ".xml")
FOREIGN = (*TABLES, *TREES, ".txt", ".md", ".dvc")


def is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in CLUTTER


def is_partial(name: str) -> bool:
    return name.lower().endswith(PARTIAL)


def may_be_text(name: str) -> bool:
    """Where this is so and `sniff` knows no image format either, the file is a table or a text."""
    return name.lower().endswith(FOREIGN)


def seen(skipped: Counter[str]) -> str:
    """A clause for an error: what was met and left out."""
    if not skipped:
        return ", it is empty"
    counts = ", ".join(f"{count} {reason}" for reason, count in sorted(skipped.items()))
    return f" but {counts}" + (" (--follow-symlinks follows them)" if OUTSIDE in skipped else "")
