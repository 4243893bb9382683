"""The label heads that an ablation compares, by name: kind and settings of each, as in params.yaml.

In    the project's own head; the words of --heads and --choose.
Out   name -> settings; a setting and the values to choose from. Imports no torch: a wrong word is refused at
      once.
Settings of the heads are the papers', where they give any: heads/ names the source of each. Dropout, loss,
optimizer, schedule and changes of images are the project's, the same for all heads; the papers' own recipes
are presets (`init --preset lamp`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from cxrscore.core.errors import UserError

REFERENCE = "independent"
EMBEDDINGS = {"embeddings": "cooccurrence", "embedding_dim": 300}
USUAL: dict[str, dict[str, Any]] = {
    "independent": {"pool": "gap"},
    "mlp": {"hidden": 512, "pool": "gap"},
    "coupling": {
        "alpha": 0.3,
        "l1": 1e-3,
        "mu": 0.0,
        "prox": False,
        "lr_scale": 1.0,
        "steps": 1,
        "centred": False,
        "conditional": False,
        "rank": 4,
    },
    "lamp": {"steps": 2, "dim": 512, "heads": 4, "auxiliary_weight": 0.2, "feature_steps": 0, "inputs": []},
    "agcn": {
        "degrees": "signed",
        "threshold": 0.4,
        "static": "reweighted",
        "reweight": 0.2,  # ML-GCN's p
        "direction": "paper",
        **EMBEDDINGS,
        "hidden": 1024,
        "identity_weight": 1.0,
    },
    "salgl": {
        "steps": 3,
        "cell": "paper",
        "mixture": "soft",
        **EMBEDDINGS,
        "joint_dim": 512,
        "entropy_weight": 1.0,
    },
}
CHANGES: dict[str, tuple[str, dict[str, Any]]] = {  # name -> kind, and what differs from the usual
    REFERENCE: ("independent", {}),
    "independent-gmp": ("independent", {"pool": "gmp"}),
    "mlp": ("mlp", {}),
    "coupling": ("coupling", {}),
    "coupling-frozen": ("coupling", {"lr_scale": 0.0}),
    "coupling-prox": ("coupling", {"prox": True}),
    "coupling-steps": ("coupling", {"steps": 3}),
    "coupling-centred": ("coupling", {"centred": True}),
    "coupling-conditional": ("coupling", {"conditional": True}),
    "coupling-mu": ("coupling", {"mu": 1e-2}),
    "lamp-el": ("lamp", {"graph": "el"}),
    "lamp-fc": ("lamp", {"graph": "fc"}),
    "lamp-prior": ("lamp", {"graph": "prior"}),
    "lamp-el-features": ("lamp", {"graph": "el", "feature_steps": 2}),
    "lamp-fc-features": ("lamp", {"graph": "fc", "feature_steps": 2}),
    "lamp-prior-features": ("lamp", {"graph": "prior", "feature_steps": 2}),
    "agcn-identity": ("agcn", {"graph": "identity"}),
    "agcn-binary": ("agcn", {"graph": "static", "static": "binary"}),
    "agcn-static": ("agcn", {"graph": "static"}),
    "agcn-static-code": ("agcn", {"graph": "static", "direction": "code"}),
    "agcn-cos": ("agcn", {"graph": "cos"}),
    "agcn-fc": ("agcn", {"graph": "fc"}),
    "agcn-dot": ("agcn", {"graph": "dot"}),
    "agcn-learned": ("agcn", {"graph": "learned"}),
    "agcn-no-penalty": ("agcn", {"graph": "learned", "identity_weight": 0.0}),
    "salgl-1": ("salgl", {"scenes": 1}),
    "salgl-2": ("salgl", {"scenes": 2}),
    "salgl-attention": ("salgl", {"scenes": 1, "steps": 0}),  # the paper's table 4, "+ SA"
    "salgl-no-entropy": ("salgl", {"scenes": 2, "entropy_weight": 0.0}),  # its table 5
}
PROJECT = "project"  # the project's own head as it is
EXTRAS = (  # on demand
    *("coupling-prox", "coupling-steps", "coupling-centred", "coupling-conditional", "coupling-mu"),
    *("salgl-attention", "salgl-no-entropy"),
    *("agcn-binary", "agcn-static-code", "agcn-cos", "agcn-fc", "agcn-dot", "agcn-no-penalty"),
    *("lamp-el-features", "lamp-fc-features", "lamp-prior-features"),
)
DEFAULT = tuple(name for name in CHANGES if name not in EXTRAS)


def settings_of(names: Sequence[str], head: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Name -> settings. `head`: the project's own, PROJECT; its dropout is everyone's."""
    return {name: dict(head) if name == PROJECT else _settings(*CHANGES[name], head) for name in names}


def _settings(kind: str, changes: Mapping[str, Any], head: Mapping[str, Any]) -> dict[str, Any]:
    return {"kind": kind, "dropout": head["dropout"], **USUAL[kind], **changes}


def choose(words: str | None, head: Mapping[str, Any], *, reference: str = REFERENCE) -> list[str]:
    """What --heads names, the `reference` first, and the independent head: variants and, where no variant is
    called so, kinds, which stand for their default variants. Without a word all of those, and PROJECT where
    `head` is none of them. Raises UserError.
    """
    if reference not in (*CHANGES, PROJECT):
        names = ", ".join([*CHANGES, PROJECT])
        raise UserError(f"--reference: no head {reference!r}; name one of {names}.")
    chosen = {REFERENCE, reference}
    if words is None:
        known = head in settings_of(DEFAULT, head).values()
        chosen.update([*DEFAULT, *[PROJECT] * (not known)])
    for word in words.split(",") if words is not None else ():
        kind = [name for name in DEFAULT if CHANGES[name][0] == word]
        found = [word] if word in (*CHANGES, PROJECT) else kind
        if not found:
            names = ", ".join([*CHANGES, PROJECT, *_kinds()])
            raise UserError(f"--heads: no head {word!r}; there are {names}.")
        chosen.update(found)
    return [reference, *(name for name in (*CHANGES, PROJECT) if name in chosen - {reference})]


def _kinds() -> list[str]:
    return [kind for kind in USUAL if kind not in CHANGES]
