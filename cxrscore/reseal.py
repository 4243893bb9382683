"""A checkpoint of a version without seals -> the same weights and facts, sealed, in a new file.

In    a checkpoint of an older version, whose metadata hold a card that no seal covers.
Out   a sealed checkpoint; every fact that it now seals, for a person to read.
The one reader of unsealed files: if `score` read them with a warning, whoever changes a fact would strip the
seal, too.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cxrscore.core.errors import UserError
from cxrscore.core.files import sha256_file
from cxrscore.core.safetensors_digest import entry_of, is_unsealed, read_sealed, read_whole, tensors_of
from cxrscore.core.text_table import Block
from cxrscore.model.checkpoint import UNSEALED, checked_card, model_of, save_checkpoint
from cxrscore.scoring.output import check_output


def reseal(source: Path, output: Path, *, overwrite: bool) -> dict[str, Any]:
    """Write the new file and return what it seals. Raises UserError for a file that is sealed already, is
    damaged, or is no checkpoint that scoring could load; then nothing was written.
    """
    _refuse_to_replace(source, output, overwrite=overwrite)
    data = read_whole(source)
    entry = entry_of(source, data)
    if not is_unsealed(entry):
        read_sealed(source)  # one that is damaged is no checkpoint to use
        raise UserError(f"{source}: it has a SHA-256 of its metadata already; use it as it is.")
    if not isinstance(entry["card"], dict):
        raise UserError(
            f"{source}: not a fold checkpoint: it has no metadata card; name one that `cxrscore train` wrote."
        )
    card = checked_card(source, entry["card"], schema=UNSEALED)
    tensors = tensors_of(source, data, entry["sha256"])
    model_of(source, card, tensors)
    save_checkpoint(output, tensors, card)
    return {"file": str(output), "file_sha256": sha256_file(output), **asdict(card)}


def sealed_blocks(facts: Mapping[str, Any]) -> list[Block]:
    """One line per fact; the findings numbered, in the order of the model's outputs."""
    others = {name: fact for name, fact in facts.items() if name not in ("findings", "prevalence")}
    lines: list[Block] = [*_lines(others)]
    lines.append("findings, in the order of the model's outputs, and their share of the training rows")
    for i, (finding, share) in enumerate(zip(facts["findings"], facts["prevalence"], strict=True), start=1):
        lines.append(f"{i:4}  {finding}  {share:g}")
    return lines


def _lines(facts: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    for name, fact in facts.items():
        if isinstance(fact, dict) and fact:
            yield f"{indent}{name}"
            yield from _lines(fact, indent + "  ")
        else:
            yield f"{indent}{name}: {fact if isinstance(fact, str) else json.dumps(fact)}"


def _refuse_to_replace(source: Path, output: Path, *, overwrite: bool) -> None:
    check_output(output)
    if not output.exists():
        return
    if source.exists() and output.samefile(source):
        raise UserError(f"{output}: this is the input file, which is not changed; name another file.")
    if not overwrite:
        raise UserError(f"{output}: exists; --overwrite replaces it, or choose another name.")
