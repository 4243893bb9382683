"""One process of two that train a scene head together, each on its half of every batch.

    RANK=0 WORLD_SIZE=2 MASTER_ADDR=localhost MASTER_PORT=29500 python tests/programs/salgl_ranks.py <folder>

What it saw goes to <rank>.pt in that folder. `train` is the same training, for one process too.
"""

import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from cxrscore.core.all_reduce import summed
from cxrscore.model.heads.salgl import Salgl, SalglSettings

L, C, B, STEPS = 4, 6, 8, 3
LARGE = 2**60 + 1  # odd: not a float


def batch(step: int) -> tuple[Tensor, Tensor, Tensor]:
    """Of both processes."""
    rng = torch.Generator().manual_seed(step)
    features = torch.randn(B, C, 2, 2, generator=rng)
    y = torch.randint(0, 2, (B, L), generator=rng).float()
    return features, y, torch.rand(B, L, generator=rng) < 0.8


def train(rows: slice, *, processes: int) -> dict[str, Tensor]:
    """Scenes' losses (STEPS,), gradients of the last step, counts, after plain descent with the mean of the
    processes' gradients: what DistributedDataParallel makes, whose import alone takes 12 s.
    """
    torch.manual_seed(0)
    settings = SalglSettings(
        dropout=0.0,
        scenes=2,
        steps=2,
        mixture="soft",
        embeddings="learned",
        embedding_dim=3,
        joint_dim=5,
        entropy_weight=1.0 / L,
        cell="paper",
    )
    head = Salgl(settings, findings=L, channels=C)
    losses = []
    for step in range(STEPS):
        features, y, mask = (tensor[rows] for tensor in batch(step))
        output = head(features, y, mask)
        supervised = binary_cross_entropy_with_logits(output.logits, y, weight=mask.float())
        head.zero_grad()
        (supervised + output.losses["scenes"]).backward()
        losses.append(output.losses["scenes"].detach())
        with torch.no_grad():
            for parameter in head.parameters():
                parameter.grad = summed(parameter.grad) / processes
                parameter -= 0.5 * parameter.grad
    gradients = {f"gradient.{name}": parameter.grad for name, parameter in head.named_parameters()}
    return {"losses": torch.stack(losses), **gradients, **dict(head.named_buffers())}


def sums(rank: int) -> dict[str, Tensor]:
    """What `summed` makes of (rank + 1, 10), of an odd large integer in one process, and a gradient of it."""
    mine = torch.tensor([rank + 1.0, 10.0], requires_grad=True)
    total = summed(mine)
    total.square().sum().backward()
    count = summed(torch.tensor([LARGE if rank else 0]))
    return {"total": total.detach(), "of both losses": mine.grad, "count": count}


def main() -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rank = int(os.environ["RANK"])
    rows = slice(rank * B // 2, (rank + 1) * B // 2)
    torch.save(train(rows, processes=2) | sums(rank), Path(sys.argv[1]) / f"{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
