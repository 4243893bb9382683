"""Names of image files as tables spell them: what is not meant in a cell, and which file a name means.

In    names from a table; the paths of the files that are there.
Out   Match: for each name the one file that it means, or none; sentences on how many were matched and how.

A name that is a path to the byte means that file. Any other is matched by the first of RULES by which it fits
some file, and only where one file fits one name: two candidates are reported, never chosen between.
"""

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

UNSEEN = ("Zs", "Zl", "Zp", "Cc", "Cf")  # blanks, line ends, marks without width from copied text
# Of the formats that images.py knows, decodable or not, and of their relatives.
JPEG, RASTER = {"jpg", "jpeg", "jpe", "jfif"}, {"png", "apng", "tif", "tiff", "gif", "bmp", "dib", "webp"}
NEWER = {"jp2", "j2k", "j2c", "jpc", "jpf", "jpx", "jls", "jxl", "heic", "heif", "hif", "avif"}
IMAGE_SUFFIXES = JPEG | RASTER | NEWER | {"dcm", "dicom", "dic", "ima", "pgm", "ppm", "pbm", "pnm"}


def without_blanks(cell: str) -> str:
    """The cell without what cannot be seen at its ends."""
    if cell.isalnum():
        return cell
    seen = [i for i, char in enumerate(cell) if unicodedata.category(char) not in UNSEEN]
    return cell[seen[0] : seen[-1] + 1] if seen else ""


def without_suffix(path: str) -> str:
    """A path without the suffix of an image: what follows the last point of a DICOM UID is a part of the
    name, and two UIDs may differ there alone.
    """
    front, point, suffix = path.rpartition(".")
    return front if point and front.rpartition("/")[2] and suffix.lower() in IMAGE_SUFFIXES else path


def stem(path: str) -> str:
    """A file's name without its folders and without the suffix of an image."""
    return without_suffix(path).rpartition("/")[2]


def spelled(name: str) -> str:
    """One spelling for the Unicode forms (NFC, NFD), blanks at the ends and separators of one path."""
    parts = unicodedata.normalize("NFC", without_blanks(name)).replace("\\", "/").split("/")
    return "/".join(part for part in parts if part not in ("", "."))


@dataclass(frozen=True)
class Rule:
    """`told` ends a sentence on the names that it matched; `below`: for names without a folder alone."""

    told: str
    key: Callable[[str], str]
    below: bool = False


OTHER_SUFFIX = "without its suffix, or with another one"
RULES = (
    Rule("in another Unicode form (NFC, NFD), or with other separators or blanks", spelled),
    Rule(OTHER_SUFFIX, lambda name: without_suffix(spelled(name))),
    Rule("in a folder", lambda name: spelled(name).rpartition("/")[2], below=True),
    Rule(f"in a folder, {OTHER_SUFFIX}", lambda name: stem(spelled(name)), below=True),
)


@dataclass(frozen=True)
class Match:
    """`files[i]`: which file name i means, -1 for none. `notes`: how many were matched by which rule.
    `unclear`: name -> why it means none of the files that it fits.
    """

    files: list[int]
    notes: list[str]
    unclear: dict[str, str]

    def missing(self, names: Sequence[str]) -> list[str]:
        """The names without a file, with what made them unclear."""
        alone = [name for name, file in zip(names, self.files, strict=True) if file < 0]
        return [f"{name!r} ({self.unclear[name]})" if name in self.unclear else repr(name) for name in alone]


def match_names(names: Sequence[str], files: Sequence[str], *, folds_case: bool = False) -> Match:
    """Each name and file once. `folds_case`: the file system takes `A.png` and `a.png` for one."""
    position = {file: i for i, file in enumerate(files)}
    found = [position.get(name, -1) for name in names]
    notes: list[str] = []
    unclear: dict[str, str] = {}
    rules = RULES if -1 in found else ()
    folded = [Rule(f"{rule.told}, in another case", _folded(rule.key), rule.below) for rule in rules]
    for rule in (*rules, *(folded if folds_case else ())):
        left = [i for i, file in enumerate(found) if file < 0 and names[i] not in unclear]
        left = [i for i in left if not (rule.below and "/" in spelled(names[i]))]
        if not left:
            continue
        candidates = _files_by_key(files, rule.key)
        claims = {i: candidates.get(rule.key(names[i]), []) for i in left}
        taken = Counter(file for file in found if file >= 0)
        taken.update(those[0] for those in claims.values() if len(those) == 1)
        matched = 0
        for i, those in claims.items():
            if len(those) == 1 and taken[those[0]] == 1:
                found[i] = those[0]
                matched += 1
            elif those:
                fits = " or ".join(repr(files[file]) for file in those[:3])
                unclear[names[i]] = f"could be {fits}" if len(those) > 1 else f"{fits} is another name's, too"
        if matched:
            notes.append(f"{matched:,} names match a file {rule.told}")
    return Match(found, notes, unclear)


def _files_by_key(files: Sequence[str], key: Callable[[str], str]) -> dict[str, list[int]]:
    by_key = defaultdict(list)
    for i, file in enumerate(files):
        by_key[key(file)].append(i)
    return by_key


def _folded(key: Callable[[str], str]) -> Callable[[str], str]:
    return lambda name: key(name).casefold()
