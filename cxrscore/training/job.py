"""What is to be trained: read, refused where it cannot be, and given its fingerprint.

In    the fold, out/prepared, out/folds.csv, data/labels.csv, the settings.
Out   Job; its fingerprint, under which its state is kept; the card of a checkpoint of it.
"""

from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cxrscore import __version__
from cxrscore.core.device import Machine
from cxrscore.core.errors import UserError
from cxrscore.core.files import sha256_file
from cxrscore.core.import_closure import fingerprint as fingerprint_of_files
from cxrscore.core.paths import Layout
from cxrscore.core.safetensors_digest import is_ours
from cxrscore.model.checkpoint import Card, read_card
from cxrscore.model.network import check_backbone
from cxrscore.statistics.roc_area import auc_by_finding, macro
from cxrscore.tables.cooccurrence import prevalence, read_embeddings
from cxrscore.tables.fold_table import read_folds, split_patients
from cxrscore.tables.label_graph import read_label_graph, without_edges
from cxrscore.tables.tabular_inputs import with_encodings
from cxrscore.training.fold_data import FoldData, read_fold
from cxrscore.training.preflight import embeddings_file, graph_file, refuse_early
from cxrscore.training.process_group import world
from cxrscore.training.resume_state import fingerprint

if TYPE_CHECKING:
    from cxrscore.project.params import Params

# once a process: what it has imported stays as it is while it trains one fold after another
fingerprint_of_code = cache(fingerprint_of_files)


@dataclass(frozen=True)
class Job:
    """What is to be trained: a fold's rows, the settings, and the sha256 of what they were read from.
    `notes`: what someone should know of these. `held_out`: a further fold that has no part in it.
    """

    fold: int
    data: FoldData
    params: "Params"
    sha256: dict[str, str]
    notes: tuple[str, ...] = ()
    held_out: int | None = None


def read_job(
    fold: int,
    *,
    labels_csv: Path,
    layout: Layout,
    params: "Params",
    machine: Machine,
    held_out: int | None = None,
) -> Job:
    """When all that training the fold takes is there and fits. Raises UserError."""
    train = params.train
    refuse_early(fold, layout=layout, params=train, processes=world().size, held_out=held_out)
    check_backbone(
        train.backbone,
        size=params.prepare.size,
        init=train.init,
        init_except=train.init_except,
        drop_path=train.drop_path,
    )
    data = read_fold(
        fold,
        labels_csv=labels_csv,
        layout=layout,
        labels=params.labels,
        machine=machine,
        train_size=params.prepare.train_size,
        inputs=getattr(train.head, "inputs", ()),
        held_out=held_out,
    )
    if params.folds.method == "patient" and (split := split_patients(read_folds(layout.folds))):
        raise UserError(
            f"{layout.folds}: patient {split[0]!r} lies in two folds, and folds.method is patient: the table "
            "was edited; run `dvc repro folds`."
        )
    if data.store.size != params.prepare.size:
        raise UserError(
            f"{layout.prepared}: images of {data.store.size} px, prepare.size is {params.prepare.size}; "
            "run `dvc repro prepare`."
        )
    if data.store.bit_depth != params.prepare.bit_depth:
        raise UserError(
            f"{layout.prepared}: prepared with bit_depth {data.store.bit_depth}, prepare.bit_depth is "
            f"{params.prepare.bit_depth}; run `dvc repro prepare`."
        )
    y, mask = data.truth(data.val)
    if np.isnan(macro(auc_by_finding(y, mask, y))):
        raise UserError(
            f"--fold {fold}: no finding has both positives and negatives to validate on; use fewer folds."
        )
    sources = {"labels": sha256_file(labels_csv), "folds": sha256_file(layout.folds)}
    sources["images"] = data.store.sha256_index
    if data.larger is not None:
        sources["larger_images"] = data.larger.sha256_index
    if train.init not in ("none", "imagenet"):
        _refuse_what_has_seen(fold, sources, Path(train.init))
        sources["init"] = sha256_file(Path(train.init))
    if path := embeddings_file(train):
        read_embeddings(path, data.findings, dim=train.head.model_dump()["embedding_dim"])
        sources["embeddings"] = sha256_file(path)
    notes: tuple[str, ...] = ()
    if path := graph_file(train):
        alone = without_edges(read_label_graph(path, data.findings), data.findings)
        sources["graph"] = sha256_file(path)
        notes = (f"{path} has no edge of {', '.join(alone)}",) if alone else ()
    return Job(fold, data, params, sources, notes, held_out)


def _refuse_what_has_seen(fold: int, sources: dict[str, str], init: Path) -> None:
    """A start from another fold's checkpoint of the same data would be validated on what it has seen."""
    if not is_ours(init):
        return
    card = read_card(init)  # one that is damaged or unsealed is ours as well, and may have seen them
    same = {name: card.sha256.get(name) == sources[name] for name in ("labels", "images", "folds")}
    if (same["labels"] or same["images"]) and not (same["folds"] and card.fold == fold):
        raise UserError(
            f"train.init: {init} was trained as fold {card.fold} of this data: it has seen images that "
            f"fold {fold} is validated on. Take weights from other data."
        )


def identity(job: Job, machine: Machine) -> str:
    """The training's fingerprint. Raises UserError where the processes do not agree on it."""
    found = fingerprint(
        {
            "fold": job.fold,
            "held_out": job.held_out,
            "labels": job.params.labels.model_dump(),
            "train": job.params.train.model_dump(),
            "sources": job.sha256,
            "pixels": [job.data.store.size, job.data.store.preprocessing, job.data.store.bit_depth],
            "code": fingerprint_of_code("cxrscore.train"),
            "versions": versions(),
            "numbers": [machine.device.type, str(machine.dtype), machine.compile],
        }
    )
    if len(set(world().gather(found))) > 1:
        world().refuse("train: the processes see different settings, data, code or versions.")
    return found


def versions() -> dict[str, str]:
    return {"cxrscore": __version__} | {name: version(name) for name in ("torch", "timm")}


def card_of(job: Job, best: dict[str, Any]) -> Card:
    data, params = job.data, job.params
    y, mask = data.truth(data.train)
    return Card(
        findings=list(data.findings),
        id_column=params.labels.id,
        backbone=params.train.backbone,
        head=with_encodings(params.train.head.model_dump(), data.encodings),
        size=data.store.size,
        preprocessing=data.store.preprocessing,
        bit_depth=data.store.bit_depth,
        fold=job.fold,
        k=data.k,
        epoch=best["epoch"],
        macro_auc=best["macro_auc"],
        weights=best["weights"],
        views=list(params.train.views),
        prevalence=[round(float(share), 6) for share in prevalence(y, mask)],
        params={"labels": params.labels.model_dump(), "train": params.train.model_dump()},
        sha256=job.sha256,
        versions=versions(),
    )
