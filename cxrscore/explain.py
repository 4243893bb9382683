"""Radiographs -> how their logits came about: each finding's before and after the label head, and who pushed.

In    images as `score` takes them, or files by name, and a table of what heads read beside the pixels; fold
      checkpoints whose head has stages.
Out   Explained, one per image; the same as a table and as pictures; faults of files that could not be read.

Pixels, models, views and batches are those of `score`, by the same functions, so that the probabilities are
its own, bit for bit where the recipe is the same. A score is a mean of probabilities over views, then over
folds. Logits and pushes are means over the same views and folds, so that a push is the difference that it
makes to the mean logit; the sigmoid of a mean logit is near the score and not equal to it.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cxrscore.core.device import Machine
from cxrscore.core.errors import UserError, with_remedy
from cxrscore.core.files import write_text
from cxrscore.core.progress import Progress
from cxrscore.evaluation import figures
from cxrscore.images.decoding.decode import Wanted
from cxrscore.images.decoding.pool import Batch, decode_batches, may_stall, once_more, second_try
from cxrscore.images.inputs.listing import Listing, list_input
from cxrscore.images.inputs.named_files import is_image, list_named
from cxrscore.model.predict import probabilities
from cxrscore.scoring.compute import Engine
from cxrscore.scoring.faults import TOO_SLOW, Cause, fault_of
from cxrscore.scoring.input_table import input_values
from cxrscore.scoring.options import Options
from cxrscore.scoring.output import check_output, fold_mean
from cxrscore.scoring.predictor import load_predictor
from cxrscore.scoring.row_plan import Fault, Plan, make_plan
from cxrscore.tables.csv_table import write_table
from cxrscore.tables.score_table import score_cells


@dataclass(frozen=True)
class Explained:
    """One image. probs (L,): its scores. `logits` (S, L): the means of each stage. `pushes` (L, L), row =
    source, column = target: what a source added to the mean logit of a target; None where the head has
    no such terms.
    """

    name: str
    probs: NDArray[np.float32]
    logits: NDArray[np.float32]
    pushes: NDArray[np.float32] | None
    attention: "Attention | None" = None

    @cached_property
    def change(self) -> NDArray[np.float32]:
        """(L,): what happened to the logit from the first stage to the last."""
        change: NDArray[np.float32] = self.logits[-1] - self.logits[0]
        return change

    def strongest(self, target: int) -> int | None:
        """The source with the largest push, of equal ones the first; None where nothing is pushed."""
        if self.pushes is None or not self.pushes[:, target].any():
            return None
        return int(np.abs(self.pushes[:, target]).argmax())


@dataclass(frozen=True)
class Attention:
    """Of one image (S, S) as it is, the means over folds: `maps` (T, h, w), how a finding's attention was
    shared out over its places in each step; `probes` (L, T, P), the probability read out after each part of
    a step.
    """

    gray: NDArray[np.uint8]
    maps: NDArray[np.float64]
    probes: NDArray[np.float64]


@dataclass(frozen=True)
class Explanation:
    """Of all images that could be read. `stages`: names of the logits; `notes` and `faults` as of a run of
    the scorer.
    """

    findings: Sequence[str]
    stages: Sequence[str]
    folds: Sequence[int]
    views: Sequence[str]
    images: Sequence[Explained]
    faults: Sequence[Fault]
    notes: Sequence[str]
    attention: str | None = None


def reading(model: Any, features: Tensor, inputs: Tensor | None) -> Tensor:
    """(b, C, h, w) -> (b, 1 + S, L) or (b, 1 + S + L, L): probabilities, the logits of each stage, pushes.

    An infinite logit becomes NaN, as in scoring: the image is then computed again in fp32.
    """
    effects = model.label_head.effects(features, inputs)
    stages = torch.where(effects.stages.isfinite(), effects.stages, torch.nan)
    parts = [probabilities(model, features, inputs)[:, None], stages]
    return torch.cat(parts if effects.pushes is None else [*parts, effects.pushes], dim=1)


def explain(
    inputs: Sequence[str],
    options: Options,
    *,
    models: Path,
    exclude: Iterable[Path] = (),
    attention: str | None = None,
    machine: Machine,
    progress: Progress,
) -> Explanation:
    """`inputs`: image files, or one folder, pattern, table or archive. Of `options`, which models and how
    files are read. `attention`: a finding whose attention to each image is kept. Raises UserError, also where
    the head has one stage, or no attention; Stopped where the device is lost.
    """
    progress.say(f"listing {' '.join(inputs)}")
    listing = _list(inputs, exclude)
    progress.say(f"loading the models of {models}")
    predictor = load_predictor(
        models,
        machine,
        folds=options.folds,
        views=options.views,
        batch_size=options.batch_size,
        compile=False,
    )
    card = predictor.card
    plan, notes = make_plan(listing, card, template=None, id_kind=options.id_kind)
    stages = _stages(models, predictor.engine, card.head["kind"])
    at = None if attention is None else _attending(models, card.findings, card.head["kind"], attention)
    values = input_values(options.inputs, predictor.encodings, plan, id=card.id_column)
    notes = [*notes, *(values.notes if values else ())]
    engine = replace(predictor.engine, reading=reading)
    work = _Work(plan, engine, len(stages), at, None if values is None else values.values)
    how: dict[str, Any] = {"size": card.size, "batch_size": predictor.batch_size, "workers": options.workers}
    how |= {"timeout_s": options.timeout_s, "wanted": Wanted(options.bit_depth or card.bit_depth)}
    found = _explain_all(work, how, progress)
    images = [one for _, one in sorted(found.items()) if isinstance(one, Explained)]
    faults = [(plan.paths[i], *one) for i, one in sorted(found.items()) if not isinstance(one, Explained)]
    return Explanation(
        findings=card.findings,
        stages=stages,
        folds=predictor.folds,
        views=predictor.views,
        images=images,
        faults=[*plan.faults, *faults],
        notes=notes,
        attention=attention,
    )


@dataclass(frozen=True)
class _Work:
    """What is explained, by what; `stages`: how many the head has; `attending`: the place among the findings
    of the one whose attention is kept; `inputs` (F, n, m), what heads read beside the pixels of the plan's
    files.
    """

    plan: Plan
    engine: Engine
    stages: int
    attending: int | None = None
    inputs: NDArray[np.float32] | None = None


def _list(inputs: Sequence[str], exclude: Iterable[Path]) -> Listing:
    if len(inputs) == 1 and not (inputs[0] and is_image(Path(inputs[0]))):
        return list_input(inputs[0], exclude=exclude)
    return list_named(inputs)


def _stages(folder: Path, engine: Engine, kind: str) -> tuple[str, ...]:
    """The names of the head's stages. Raises UserError where there is but one."""
    stages: tuple[str, ...] = engine.exact[0].label_head.stages
    if len(stages) < 2:
        raise UserError(
            f"{folder}: the head {kind} reads its logits once, at its end, so there is no before and after "
            "to compare; name models whose train.head.kind is coupling, lamp, agcn (but for graph identity) "
            "or salgl (but for steps 0)."
        )
    return stages


def _attending(folder: Path, findings: Sequence[str], kind: str, finding: str) -> int:
    if kind != "lamp":
        raise UserError(
            f"{folder}: --attention: the findings of the head {kind} do not attend to places step by step; "
            "name models whose train.head.kind is lamp."
        )
    if finding not in findings:
        raise UserError(f"--attention: no finding {finding!r}; use one of {', '.join(findings)}.")
    return list(findings).index(finding)


@torch.inference_mode()
def _attention(
    engine: Engine, pixels: NDArray[np.uint8], inputs: NDArray[np.float32] | None, finding: int
) -> Attention:
    """Of one image (S, S) and its inputs (F, 1, m), unmirrored, by the models as they were trained."""
    device = engine.machine.device
    gray = torch.from_numpy(pixels.copy())[None, None].to(device)
    own = [None] * len(engine.exact) if inputs is None else torch.from_numpy(inputs.copy()).to(device)
    pairs = zip(engine.exact, own, strict=True)
    seen = [_looked(model.label_head, model.features(gray), values) for model, values in pairs]
    maps = np.stack([one["attention_tokens"].values[0, finding] for one in seen]).astype(np.float64)
    probes = np.stack([one["probes"].values[0] for one in seen]).astype(np.float64)
    return Attention(pixels, maps.mean(0), probes.mean(0))


def _looked(head: Any, features: Tensor, inputs: Tensor | None) -> dict[str, Any]:
    pictures: dict[str, Any] = head.look(features) if inputs is None else head.look(features, inputs)
    return pictures


def _explain_all(work: _Work, how: Mapping[str, Any], progress: Progress) -> dict[int, Explained | Cause]:
    """Position -> what the file shows, or why it shows nothing. Slow files are tried twice, as in scoring."""
    listing, paths = work.plan.listing, work.plan.paths
    found: dict[int, Explained | Cause] = {}
    progress.start("explain", len(paths))
    with closing(decode_batches(listing, paths, **how)) as batches:
        for batch in batches:
            found |= _explain_batch(work, batch, range(len(paths)))
            progress.advance(len(batch.items))
    slow = [i for i, one in found.items() if not isinstance(one, Explained) and one[:2] == TOO_SLOW]
    if slow:
        progress.say(once_more(len(slow), how["timeout_s"], how["workers"]))
        again = second_try(listing, [paths[i] for i in slow], failures=may_stall(len(paths)), **how)
        with closing(again) as batches:
            for batch in batches:
                found |= _explain_batch(work, batch, slow)
    return found


def _explain_batch(work: _Work, batch: Batch, positions: Sequence[int]) -> dict[int, Explained | Cause]:
    """`positions`: in the plan, of the files that are decoded."""
    pixels = batch.pixels.copy()  # the decoders need the place
    rows = [positions[item.index] for item in batch.items]
    inputs = None if work.inputs is None else work.inputs[:, rows]
    by_fold = work.engine.start(pixels, inputs).result().copy()  # (F, B, 1 + S + pushes, L)
    found: dict[int, Explained | Cause] = {}
    for row, item in enumerate(batch.items):
        i, fault = rows[row], fault_of(work.plan.listing, item, work.plan.known)
        own = None if inputs is None else inputs[:, row : row + 1]
        if fault is None and not np.isfinite(by_fold[:, row]).all():
            by_fold[:, row] = work.engine.exactly(pixels[row], own)
            if not np.isfinite(by_fold[:, row]).all():
                why = "the models gave no finite logit, nor did they in fp32"
                fault = ("compute", "NON_FINITE", with_remedy("NON_FINITE", why))
        if fault is not None:
            found[i] = fault
            continue
        one = _explained(work.plan.ids[i], fold_mean(by_fold[:, row]), work.stages)
        if work.attending is not None:
            one = replace(one, attention=_attention(work.engine, pixels[row], own, work.attending))
        found[i] = one
    return found


def _explained(name: str, values: NDArray[np.float32], stages: int) -> Explained:
    """`values` (K, L) as `reading` lays them out, means over views and folds."""
    probs, logits, pushes = values[0], values[1 : 1 + stages], values[1 + stages :]
    return Explained(name, probs, logits, pushes if len(pushes) else None)


def table_rows(found: Explanation) -> Iterator[list[str]]:
    """A header, then one row per image and finding."""
    pushed = any(image.pushes is not None for image in found.images)
    logits = [f"logit_{stage}" for stage in found.stages]
    yield ["image", "finding", "probability", *logits, "change", *(["pushed_by", "push"] if pushed else [])]
    for image in found.images:
        for j, finding in enumerate(found.findings):
            row = [image.name, finding, _shown(image.probs[j])]
            row += [_shown(stage[j]) for stage in image.logits]
            row.append(_shown(image.change[j]))
            if image.pushes is not None:
                i = image.strongest(j)
                row += ["", ""] if i is None else [found.findings[i], _shown(image.pushes[i, j])]
            yield row


def _shown(value: np.float32) -> str:
    """As a score table writes a number."""
    return score_cells("", np.array([value]))[1]


def as_json(found: Explanation) -> dict[str, Any]:
    """With every push, by source and target."""
    return {
        "folds": list(found.folds),
        "views": list(found.views),
        "images": [
            {
                "image": image.name,
                "findings": {name: _facts(image, found, j) for j, name in enumerate(found.findings)},
            }
            for image in found.images
        ],
        "not_explained": [[path, kind, why] for path, _, kind, why in found.faults],
    }


def _facts(image: Explained, found: Explanation, j: int) -> dict[str, Any]:
    facts: dict[str, Any] = {"probability": float(image.probs[j])}
    facts["logits"] = {stage: float(image.logits[s, j]) for s, stage in enumerate(found.stages)}
    if image.pushes is not None:
        facts["pushes"] = {
            source: float(image.pushes[i, j]) for i, source in enumerate(found.findings) if i != j
        }
    return facts


def write_explained(path: Path, found: Explanation) -> None:
    header, *rows = table_rows(found)
    write_table(path, header, rows)


def picture_names(names: Sequence[str]) -> list[str]:
    """0001-chest_17.svg: the image's number, then the name of its file without its extension, so far as a
    file name may hold it.
    """
    stems = (re.sub(r"[^A-Za-z0-9._-]+", "_", Path(name).stem)[:60] for name in names)
    return [f"{number:04d}-{stem}.svg" for number, stem in enumerate(stems, start=1)]


def write_pictures(folder: Path, found: Explanation) -> None:
    """One SVG per image, in the order of the images; with attention two more, .attention.svg and
    .probes.svg.
    """
    for name, image in zip(picture_names([image.name for image in found.images]), found.images, strict=True):
        if image.attention is not None:
            seen = image.attention
            titles = [
                f"{found.attention}, step {t} of {len(seen.maps)}" for t in range(1, len(seen.maps) + 1)
            ]
            drawn = figures.attention_over_image(seen.gray, dict(zip(titles, seen.maps, strict=True)))
            write_text(folder / f"{name.removesuffix('.svg')}.attention.svg", drawn)
            drawn = figures.probes(seen.probes, found.findings)
            write_text(folder / f"{name.removesuffix('.svg')}.probes.svg", drawn)
        write_text(
            folder / name,
            figures.head_effects(
                image.name,
                found.findings,
                image.probs,
                dict(zip(found.stages, image.logits, strict=True)),
                image.pushes,
            ),
        )


def refuse_to_replace(table: Path | None, folder: Path | None, *, overwrite: bool) -> None:
    """Raises UserError, before any work, where the outputs cannot or should not be written."""
    if table is not None:
        check_output(table)
        if table.exists() and not overwrite:
            raise UserError(f"{table}: exists; --overwrite replaces it, or choose another name.")
    if folder is not None and folder.exists():
        if not folder.is_dir():
            raise UserError(f"{folder}: not a folder; name the folder for the pictures.")
        if any(folder.iterdir()) and not overwrite:
            raise UserError(f"{folder}: not empty; --overwrite writes into it, or choose another folder.")
