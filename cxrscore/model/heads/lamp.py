"""Label message passing: findings read the image, then each other, step by step.

    z_s <- update(z_s, attention of s over tokens z_1..z_hw)           first, `feature_steps` times
    u_i <- update(u_i, attention of i over tokens z_1..z_hw)           a place of the map is a token
    u_i <- update(u_i, attention of i over the findings it is linked to)
    logit_i = <W_y[i], u_i> + b_i,  u_i starts at W_y[i]

Sex, age and view may be further tokens behind those of the image (`inputs`; tabular_tokens.py).
In training the readouts before the last are learned from, too: the paper's intermediate loss.
Source: Lanchantin, Sekhon & Qi, "Neural message passing for multi-label classification", ECML PKDD 2019,
arXiv:1904.08049, 2.1 to 2.6 without the bias b, and 3.1; layer norms and positions are in its appendix.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from cxrscore.core.errors import BrokenPromise, UserError
from cxrscore.evaluation.head_pictures import Picture
from cxrscore.model.heads.base import CountFromZero, Effects, Head, HeadOutput
from cxrscore.model.heads.tabular_tokens import TabularTokens
from cxrscore.tables.cooccurrence import cooccurring, prevalence
from cxrscore.tables.label_graph import is_graph_file, read_label_graph
from cxrscore.tables.tabular_inputs import Encoding

GRAPHS = ("fc", "el", "prior")  # beside a user's file
PARTS = ("tokens", "labels")  # of a step: findings read the image, then each other
EMBEDDING_STD = 0.02  # W_y reads out, too: at d = 512 logits start 0.7 ± 0.5 above b, with 1.0 430 above
SLOWEST = 10_000.0  # wavelengths of positions grow to 2 pi times this, as in Vaswani et al., 2017


class State(NamedTuple):
    """Nodes (B, L, d) after a sub-step, `name`d stepT.tokens or stepT.labels, and the attention (B, K, L, m)
    that brought them there.
    """

    name: str
    nodes: Tensor
    attention: Tensor


@dataclass(frozen=True)
class LampSettings:
    """As in params.yaml. `encodings`: of `inputs`, decided by the training rows; a checkpoint states them.
    Checkpoints without `feature_steps` are older: in their `el`, the sub-step in which findings read each
    other was left out, and its update with it.
    """

    dropout: float
    graph: str
    steps: int
    dim: int
    heads: int
    auxiliary_weight: float
    inputs: Sequence[str] = ()
    encodings: Sequence[Mapping[str, Any]] = ()
    feature_steps: CountFromZero | None = None
    kind: Literal["lamp"] = "lamp"

    def __post_init__(self) -> None:
        if self.graph not in GRAPHS and not is_graph_file(self.graph):
            raise UserError(
                f"train.head.graph: {self.graph!r} does not fit kind lamp; set one of {', '.join(GRAPHS)}, "
                "or a .csv file of edges."
            )

    @property
    def parts(self) -> tuple[str, ...]:
        """Of each step."""
        return PARTS[:1] if self.graph == "el" and self.feature_steps is None else PARTS


class Lamp(Head):
    """`graph`: fc links each finding to all, itself included; prior, to itself and those that training images
    show it with; a file, to itself and those of its edges (label_graph.py); el, to itself alone, so that it
    has every weight of fc and only messages between findings are gone. (With one to attend to, attention is
    1 whatever query and key are: those two have no gradient there.) `dim` (d) is a multiple of 4 and of
    `heads`.
    """

    def __init__(self, settings: LampSettings, *, findings: int, channels: int) -> None:
        super().__init__()
        self.settings, self.auxiliary_weight, dim = settings, settings.auxiliary_weight, settings.dim
        self.project = nn.Linear(channels, dim)
        self.dropout = nn.Dropout(settings.dropout)
        self.W_y = nn.Parameter(EMBEDDING_STD * torch.randn(findings, dim))
        self.b = nn.Parameter(torch.zeros(findings))
        steps = range(1, settings.steps + 1)
        self.names = [f"step{number}.{part}" for number in steps for part in settings.parts]
        self.sub_steps = nn.ModuleList(MessagePassing(dim, settings.heads) for _ in self.names)
        # last, so that without them all other weights are drawn as they were before there were any
        feature_steps = range(settings.feature_steps or 0)
        self.feature_steps = nn.ModuleList(MessagePassing(dim, settings.heads) for _ in feature_steps)
        self.links: Tensor  # row = who listens, column = to whom
        self.every: Tensor
        links = torch.ones(findings, findings) if settings.graph == "fc" else torch.eye(findings)
        self.register_buffer("links", links.bool(), persistent=settings.graph not in ("fc", "el"))
        self.register_buffer("every", torch.ones(1, 1, dtype=torch.bool), persistent=False)
        encodings = _encodings(settings)
        self.inputs = len(encodings)
        self.further = TabularTokens(encodings, dim=dim) if encodings else None  # last: see the other weights

    @torch.no_grad()
    def begin(self, y: np.ndarray, mask: np.ndarray, *, findings: Sequence[str]) -> None:
        """b at the logit of the prevalence, kept half an image away from 0 and 1: a finding that none of n
        images shows starts as 1 in 2n, one that was never labelled at 1/2. Raises UserError for a file of
        edges that are not of these findings.
        """
        half_an_image = 0.5 / np.maximum(mask.sum(0), 1)
        share = prevalence(y, mask).astype(float).clip(half_an_image, 1 - half_an_image)
        self.b.copy_(torch.from_numpy(np.log(share / (1 - share))))
        if self.settings.graph == "prior":
            self.links.copy_(torch.from_numpy(cooccurring(y, mask)))
        elif is_graph_file(self.settings.graph):
            self.links.copy_(torch.from_numpy(read_label_graph(Path(self.settings.graph), findings)))

    def forward(
        self,
        features: Tensor,
        y: Tensor | None = None,
        mask: Tensor | None = None,
        inputs: Tensor | None = None,
    ) -> HeadOutput:
        """(B, C, h, w) and values (B, m) of `inputs` -> logits (B, L) and, in training, the readouts before
        them.
        """
        *before, last = self._states(features, inputs)
        probed = before if self.training else []
        auxiliary = {state.name: self._readout(state.nodes) for state in probed}
        return HeadOutput(self._readout(last.nodes), auxiliary)

    def _states(self, features: Tensor, inputs: Tensor | None = None) -> list[State]:
        """After each sub-step."""
        tokens = self._with_further(self._tokens(features), inputs)
        for step in self.feature_steps:
            tokens, _ = step(tokens, tokens, self.every)
        nodes = self.W_y.expand(len(features), -1, -1)
        states = []
        for name, sub_step in zip(self.names, self.sub_steps, strict=True):
            sources, links = (tokens, self.every) if name.endswith("tokens") else (nodes, self.links)
            nodes, attention = sub_step(nodes, sources, links)
            states.append(State(name, nodes, attention))
        return states

    def _tokens(self, features: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, h * w, d), row after row."""
        tokens: Tensor = self.project(features.flatten(2).transpose(1, 2))
        tokens = tokens + positions(*features.shape[2:], dim=tokens.shape[-1], device=features.device)
        dropped: Tensor = self.dropout(tokens)
        return dropped

    def _with_further(self, tokens: Tensor, inputs: Tensor | None) -> Tensor:
        """(B, h * w, d) -> (B, h * w + m, d). Whoever means "unknown" says so, by NaN."""
        if (self.further is None) != (inputs is None):
            raise BrokenPromise(
                f"a head of {self.inputs} inputs was given {'none' if inputs is None else 'some'}"
            )
        if self.further is None:
            return tokens
        return torch.cat([tokens, self.further(inputs)], 1)

    def _readout(self, nodes: Tensor) -> Tensor:
        """(B, L, d) -> (B, L), by products and sums, which autocast leaves in fp32."""
        return (nodes.float() * self.W_y.float()).sum(-1) + self.b.float()

    def learned(self) -> dict[str, Picture]:
        if self.settings.graph in ("fc", "el"):
            return {}
        name = "prior_graph" if self.settings.graph == "prior" else "given_graph"
        return {name: Picture(("finding", "source"), self.links.float().cpu().numpy())}

    def look(self, features: Tensor, inputs: Tensor | None = None) -> dict[str, Picture]:
        """What each finding attended to at each step, the mean over attention heads; the shares of places and
        of further inputs, in pictures of their own, sum to 1. And `probes`, the readout of every state as a
        probability: after part 0 of a step, when findings have read the image, and after part 1, when they
        have read each other. The last is the head's output. Source: paper, 3.3.
        """
        states = self._states(features, inputs)
        probes = torch.stack([self._readout(state.nodes) for state in states], 2).sigmoid()
        probes = probes.view(len(features), len(self.b), -1, len(self.settings.parts))
        axes: tuple[str, ...] = ("image", "finding", "step", "part")
        pictures = {"probes": Picture(axes, probes.detach().cpu().numpy())}
        places = features.shape[2:].numel()
        for name, part, axes, shape, own in (
            ("tokens", "tokens", ("row", "column"), features.shape[2:], slice(places)),
            ("inputs", "tokens", ("input",), (self.inputs,), slice(places, None)),
            ("labels", "labels", ("source",), self.b.shape, slice(None)),
        ):
            maps = [state.attention.mean(1)[..., own] for state in states if state.name.endswith(part)]
            if maps and maps[0].numel():  # (B, L, m)
                values = torch.stack(maps, 2).reshape(len(features), len(self.b), -1, *shape)
                axes = ("image", "finding", "step", *axes)
                pictures[f"attention_{name}"] = Picture(axes, values.detach().cpu().numpy())
        return pictures

    @property
    def stages(self) -> tuple[str, ...]:
        return tuple(self.names)

    def effects(self, features: Tensor, inputs: Tensor | None = None) -> Effects:
        """The readout after each sub-step; what one finding told another is not a term of its own."""
        states = self._states(features, inputs)
        return Effects(torch.stack([self._readout(state.nodes) for state in states], 1))


def _encodings(settings: LampSettings) -> list[Encoding]:
    """One per input, in their order. Raises UserError."""
    encodings = [Encoding.told(about) for about in settings.encodings]
    if [encoding.column for encoding in encodings] != list(settings.inputs):
        raise UserError(
            f"train.head.inputs: {list(settings.inputs)} with encodings of "
            f"{[encoding.column for encoding in encodings]}; use a checkpoint as `cxrscore train` wrote it."
        )
    return encodings


class MessagePassing(nn.Module):
    """A sub-step: K = `heads` times attention, then an MLP, each with residual and layer norm. Weights are
    shared across nodes.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.join = (nn.Linear(dim, dim, bias=False) for _ in range(4))
        self.mlp = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, dim))
        self.attention_norm, self.mlp_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)

    def forward(self, nodes: Tensor, sources: Tensor, links: Tensor) -> tuple[Tensor, Tensor]:
        """Nodes (B, n, d), sources (B, m, d) and links, bool, (n, m) or broadcast to it -> nodes (B, n, d)
        and attention (B, K, n, m), zero without a link. A node that has none stays as it is. Source: paper,
        equations 15 to 18, 8 and 9.
        """
        attention = self._attention(nodes, sources, links)
        heard = (attention @ self._by_head(self.value(sources))).transpose(1, 2).flatten(2)  # (B, n, d)
        message = self.attention_norm(nodes + self.join(heard))
        updated = self.mlp_norm(message + self.mlp(message))
        return torch.where(links.any(-1, keepdim=True), updated, nodes), attention

    def _attention(self, nodes: Tensor, sources: Tensor, links: Tensor) -> Tensor:
        """In fp32: half precision has but three digits for a share."""
        scale = nodes.shape[-1] ** -0.5  # as printed, d and not d / K: softer than a transformer's
        scores = self._by_head(self.query(nodes)) @ self._by_head(self.key(sources)).transpose(-1, -2)
        scores = (scores.float() * scale).masked_fill(~links, torch.finfo(torch.float32).min)
        attention: Tensor = scores.softmax(-1) * links  # with -inf a row without links would be NaN, not zero
        return attention

    def _by_head(self, vectors: Tensor) -> Tensor:
        """(B, n, d) -> (B, K, n, d / K)."""
        return vectors.reshape(*vectors.shape[:2], self.heads, -1).transpose(1, 2)


def positions(height: int, width: int, *, dim: int, device: torch.device) -> Tensor:
    """(height * width, dim), row after row: sines and cosines of the row, then of the column. Source: one
    axis, Vaswani et al., "Attention is all you need", 2017, 3.5, with dim / 2 in the place of its d.
    """
    quarter = dim // 4
    rates = SLOWEST ** (-torch.arange(quarter, device=device) / quarter)
    rows, columns = (torch.arange(n, device=device)[:, None] * rates for n in (height, width))
    row = torch.cat([rows.sin(), rows.cos()], 1)[:, None].expand(-1, width, -1)
    column = torch.cat([columns.sin(), columns.cos()], 1)[None].expand(height, -1, -1)
    return torch.cat([row, column], -1).flatten(0, 1)
