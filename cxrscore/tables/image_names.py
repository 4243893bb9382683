"""Names of image files as tables spell them: what is not meant in a cell, and which file a name means.

In    names from a table; the paths of the files that are there.
Out   Match: for each name the one file that it means, or none; sentences on how many were matched and how.

A name that is a path to the byte means that file. If none is, it means the one that is the same path in
another spelling, and if none is, the only file of its name without folders and extension. Where two files
fit, or one file fits two names, none is chosen: the name is reported as unclear.
"""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from cxrscore.core.errors import counted

UNSEEN = ("Zs", "Zl", "Zp", "Cc", "Cf")  # blanks, line ends, marks without width from copied text
# Of the formats that reading.py knows, decodable or not, and of their relatives.
JPEG, RASTER = {"jpg", "jpeg", "jpe", "jfif"}, {"png", "apng", "tif", "tiff", "gif", "bmp", "dib", "webp"}
NEWER = {"jp2", "j2k", "j2c", "jpc", "jpf", "jpx", "jls", "jxl", "heic", "heif", "hif", "avif"}
SPELLED_OTHERWISE = re.compile(r"\\|//|(^|/)\./|(^|/)\.?\Z|^[ /]| \Z")  # than a plain path of ASCII
ANOTHER_SPELLING = "in another Unicode form (NFC, NFD), or with other separators or blanks"
ANOTHER_CASE = "in another case"
OTHER_SUFFIX = "without its suffix, or with another one"
IMAGE_SUFFIXES = JPEG | RASTER | NEWER | {"dcm", "dicom", "dic", "ima", "pgm", "ppm", "pbm", "pnm"}


def without_blanks(cell: str) -> str:
    """The cell without what cannot be seen at its ends."""
    if cell.isascii() and cell.isprintable():
        return cell.strip(" ")
    seen = [i for i, char in enumerate(cell) if unicodedata.category(char) not in UNSEEN]
    return cell[seen[0] : seen[-1] + 1] if seen else ""


def without_suffix(path: str) -> str:
    """A path without the extension of an image: what follows the last point of a DICOM UID is a part of the
    name, and two UIDs may differ there alone.
    """
    front, point, suffix = path.rpartition(".")
    return front if point and front.rpartition("/")[2] and suffix.lower() in IMAGE_SUFFIXES else path


def stem(path: str) -> str:
    """A file's name without its folders and without the extension of an image."""
    return without_suffix(path).rpartition("/")[2]


def spelled(name: str) -> str:
    """One spelling for the Unicode forms (NFC, NFD), blanks at the ends and separators of one path."""
    if name.isascii() and name.isprintable() and not SPELLED_OTHERWISE.search(name):
        return name
    parts = unicodedata.normalize("NFC", without_blanks(name)).replace("\\", "/").split("/")
    return "/".join(part for part in parts if part not in ("", "."))


@dataclass(frozen=True)
class Match:
    """`files[i]`: which file name i means, -1 for none. `notes`: how many were matched in which way.
    `unclear`: name -> why it means none of the files that it fits.
    """

    files: list[int]
    notes: list[str]
    unclear: dict[str, str]

    def missing(self, names: Sequence[str]) -> list[str]:
        """The names without a file, with what made them unclear."""
        return [self.told(name) for name, file in zip(names, self.files, strict=True) if file < 0]

    def told(self, name: str) -> str:
        return f"{name!r} ({self.unclear[name]})" if name in self.unclear else repr(name)


def match_names(
    names: Sequence[str], files: Sequence[str], *, folds_case: bool = False, in_folders: bool = True
) -> Match:
    """Each name and file once. `folds_case`: the file system takes `A.png` and `a.png` for one. `in_folders`:
    a name without a folder may mean a file in any.
    """
    position = {file: i for i, file in enumerate(files)}
    found = [position.get(name, -1) for name in names]
    unclear: dict[str, str] = {}
    if -1 in found:
        case: Callable[[str], str] = str.casefold if folds_case else str
        _match_by(lambda path: case(spelled(path)), names, files, found, unclear)
        whole = [i for i, name in enumerate(names) if "/" in spelled(name) or not in_folders]
        bare = sorted(set(range(len(names))).difference(whole))
        _match_by(lambda path: case(without_suffix(spelled(path))), names, files, found, unclear, among=whole)
        _match_by(lambda path: case(stem(spelled(path))), names, files, found, unclear, among=bare)
    return Match(found, _notes(names, files, found), unclear)


def _match_by(
    key: Callable[[str], str],
    names: Sequence[str],
    files: Sequence[str],
    found: list[int],
    unclear: dict[str, str],
    *,
    among: Iterable[int] | None = None,
) -> None:
    """Adds to `found`, or to `unclear`, the names without a file whose key is that of a file."""
    left = [i for i in (range(len(names)) if among is None else among) if found[i] < 0]
    left = [i for i in left if names[i] not in unclear]
    if not left:
        return
    by_key = defaultdict(list)
    for file, path in enumerate(files):
        by_key[key(path)].append(file)
    fitting = {i: by_key.get(key(names[i]), []) for i in left}
    claims = Counter(file for file in found if file >= 0)
    claims.update(those[0] for those in fitting.values() if len(those) == 1)
    for i, those in fitting.items():
        if len(those) == 1 and claims[those[0]] == 1:
            found[i] = those[0]
        elif those:
            fits = " or ".join(repr(files[file]) for file in those[:3])
            unclear[names[i]] = f"could be {fits}" if len(those) > 1 else f"{fits} also fits another name"


def _notes(names: Sequence[str], files: Sequence[str], found: Sequence[int]) -> list[str]:
    """How many names were matched in which way, and in which folders."""
    ways: Counter[str] = Counter()
    folders: dict[str, Counter[str]] = defaultdict(Counter)
    for name, at in zip(names, found, strict=True):
        if at >= 0 and files[at] != name:
            way = _way(spelled(name), spelled(files[at]))
            ways[way] += 1
            folders[way][files[at].rpartition("/")[0]] += 1
    notes = []
    for way, count in ways.items():
        where = ", ".join(f"{n:,} in {folder!r}" for folder, n in folders[way].most_common(5))
        notes.append(
            f"{counted(count, 'name matches', 'names match')} a file "
            f"{way}{f' ({where})' if 'folder' in way else ''}"
        )
    return notes


def _way(name: str, file: str) -> str:
    """How a name differs from its file, both in one spelling."""
    if name.casefold() == file.casefold():
        return ANOTHER_SPELLING if name == file else ANOTHER_CASE
    folder = "" if "/" in name or "/" not in file else "in a folder"
    same = name.rpartition("/")[2].casefold() == file.rpartition("/")[2].casefold()
    return ", ".join(part for part in (folder, "" if same else OTHER_SUFFIX) if part)
