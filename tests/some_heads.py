"""Complete settings of each kind of head, small enough for a test: as in params.yaml."""

from typing import Any

from conftest import COUPLING
from pydantic import TypeAdapter

from cxrscore.project.params import TrainParams

NAMED = {"dropout": 0.1, "embeddings": "cooccurrence", "embedding_dim": 16}
LAMP = {"kind": "lamp", "dropout": 0.1, "steps": 2, "dim": 8, "heads": 2, "auxiliary_weight": 0.2}
AGCN = {"kind": "agcn", "threshold": 0.4, "reweight": 0.25, "hidden": 8, "identity_weight": 1.0, **NAMED}
SALGL = {"kind": "salgl", "steps": 2, "mixture": "soft", "joint_dim": 8, "entropy_weight": 1.0, **NAMED}
SETTINGS: dict[str, dict[str, Any]] = {
    "independent": {"kind": "independent", "dropout": 0.1, "pool": "gap"},
    "independent gmp": {"kind": "independent", "dropout": 0.1, "pool": "gmp"},
    "coupling": COUPLING,
    "coupling of the image": COUPLING | {"conditional": True, "centred": True, "steps": 2},
    "lamp fc": LAMP | {"graph": "fc"},
    "lamp el": LAMP | {"graph": "el"},
    "lamp prior": LAMP | {"graph": "prior"},
    "agcn learned": AGCN | {"graph": "learned"},
    "agcn cos": AGCN | {"graph": "cos", "embeddings": "learned"},
    "agcn fc": AGCN | {"graph": "fc"},
    "agcn dot": AGCN | {"graph": "dot"},
    "agcn static": AGCN | {"graph": "static"},
    "agcn identity": AGCN | {"graph": "identity"},
    "salgl soft": SALGL | {"scenes": 2},
    "salgl hard": SALGL | {"scenes": 3, "mixture": "hard"},
    "salgl one scene": SALGL | {"scenes": 1},
}
ONE_OF_EACH = ("coupling of the image", "lamp prior", "agcn learned", "salgl soft")


def head_params(settings: dict[str, Any]) -> Any:
    """The section `head` as params.yaml would give it."""
    return TypeAdapter(TrainParams.model_fields["head"].rebuild_annotation()).validate_python(settings)
