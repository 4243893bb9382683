"""A model -> its parameters in groups for the optimizer, each with its factor of the learning rate.

In    a CXRModel, the learning rate, the factor from one layer to the one below.
Out   groups whose `lr_scale` the learner multiplies each step's rate by; weight decay is the optimizer's, but
      for the head's own groups.
Which layer a parameter belongs to is timm's answer (group_matcher). Source: layer-wise decay, Bao et al.,
BEiT, ICLR 2022, arXiv:2106.08254; rates are those of timm's param_groups_layer_decay, which also spares
norms and biases weight decay.
"""

from collections import defaultdict
from types import SimpleNamespace
from typing import Any

from timm.models import group_parameters
from torch import nn

from cxrscore.core.errors import UserError
from cxrscore.model.network import CXRModel

Group = dict[str, Any]


def parameter_groups(model: CXRModel, lr: float, layer_decay: float) -> list[Group]:
    """The head's own groups, last, and all other parameters: in one group where `layer_decay` is 1, otherwise
    one per layer, the lowest first, with lr_scale = layer_decay ** (layers to the head). Raises UserError for
    a backbone that does not tell its layers.
    """
    own = model.head.own_groups(lr)
    taken = {id(parameter) for group in own for parameter in group["params"]}
    rest = {name: value for name, value in model.named_parameters() if id(value) not in taken}
    if layer_decay == 1:
        return [{"params": list(rest.values())}, *own]
    below = {f"backbone.{name}": n for name, n in _layers_to_the_head(model.backbone).items()}
    layers: dict[int, list[nn.Parameter]] = defaultdict(list)
    for name, parameter in rest.items():
        layers[below.get(name, 0)].append(parameter)
    decayed = [{"params": layers[n], "lr_scale": layer_decay**n} for n in sorted(layers, reverse=True)]
    return [*decayed, *own]


def _layers_to_the_head(backbone: Any) -> dict[str, int]:
    """Each parameter's name -> 0 for what timm counts to the classifier, 1 for the layer below it, ..."""
    name = backbone.pretrained_cfg["architecture"]
    if not hasattr(backbone, "group_matcher"):
        raise UserError(f"train.layer_decay: timm does not list the layers of {name}; set it to 1.0.")
    classifier = backbone.pretrained_cfg.get("classifier") or "head"
    top = f"{classifier if isinstance(classifier, str) else classifier[0]}.weight"
    # group_parameters asks for names alone: the classifier that we left out is named to it again
    named: Any = SimpleNamespace(named_parameters=lambda: [*backbone.named_parameters(), (top, None)])
    layer = group_parameters(named, backbone.group_matcher(coarse=False), reverse=True)
    return {parameter: layer[top] - ordinal for parameter, ordinal in layer.items() if parameter != top}
