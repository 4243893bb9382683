"""The validated rows of a fold -> probabilities, and what the head shows of them, by all processes together
and in the rows' order.

In    a model, the fold's rows, the views to take.
Out   (V, n_val, L), the same in every process; None where one was asked to stop. Pictures.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from cxrscore.core.device import Machine
from cxrscore.core.signals import Asked
from cxrscore.evaluation.head_pictures import Picture, Seen
from cxrscore.model.network import CXRModel
from cxrscore.model.predict import pad, pad_inputs, predict_views
from cxrscore.training.batches import batches
from cxrscore.training.fold_data import FoldData
from cxrscore.training.process_group import world


def predict_rows(
    model: CXRModel,
    data: FoldData,
    *,
    views: Sequence[str],
    batch_size: int,
    machine: Machine,
    asked: Asked,
    after: Callable[[int], None] = lambda images: None,
) -> np.ndarray | None:
    """In batches of one shape, so that neither a row's neighbours nor the number of processes change it.
    `after` each batch: images that all processes together have done.
    """
    model.eval()
    everyone = world()
    rows = np.array_split(data.val, everyone.size)[everyone.rank]
    parts = [np.empty((len(views), 0, len(data.findings)), np.float32)]
    for chunk, gray in batches(
        data.store, rows, batch_size=batch_size, device=machine.device, whole_only=False
    ):
        if asked.number:
            break
        own = None if data.inputs is None else pad_inputs(data.inputs[chunk], batch_size)
        probs = predict_views(model, pad(gray, batch_size), views=views, machine=machine, inputs=own)
        parts.append(probs[:, : len(chunk)].cpu().numpy())
        after(len(chunk) * everyone.size)
    gathered = everyone.gather(None if asked.number else np.concatenate(parts, axis=1))
    found = [part for part in gathered if part is not None]
    return np.concatenate(found, axis=1) if len(found) == everyone.size else None


@torch.inference_mode()
def look_at_rows(
    model: CXRModel, data: FoldData, *, batch_size: int, machine: Machine, asked: Asked
) -> dict[str, Picture] | None:
    """The head's `look` at the validated images as they are: of what belongs to a finding the mean over the
    images that show it. A head that has nothing to show is asked once. None where one was asked to stop.
    """
    everyone = world()
    rows = np.array_split(data.val, everyone.size)[everyone.rank]
    seen = Seen(len(data.findings))
    for chunk, gray in batches(
        data.store, rows, batch_size=batch_size, device=machine.device, whole_only=False
    ):
        if asked.number:
            break
        with machine.autocast():
            own = () if data.inputs is None else (data.inputs[chunk],)
            pictures = model.head.look(model.features(gray), *own)
        if not pictures:
            break
        y, mask = data.truth(chunk)
        seen.add(pictures, (y == 1) & mask)
    found = [part for part in everyone.gather(None if asked.number else seen) if part is not None]
    if len(found) < everyone.size:
        return None
    first, *others = found
    for other in others:
        first.join(other)
    return first.pictures()
