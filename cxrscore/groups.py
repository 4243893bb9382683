from typing import Any

from cxrscore.model import CXRModel


def parameter_groups(model: CXRModel, lr: float, layer_decay: float) -> list[dict[str, Any]]:
    own = model.head.own_groups(lr)
    taken = {id(parameter) for group in own for parameter in group["params"]}
    return [{"params": [parameter for parameter in model.parameters() if id(parameter) not in taken]}, *own]
