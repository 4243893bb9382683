"""Shared makings of tests: a tiny model, a machine, a project of phantoms."""

import pytest
import torch

from cxrscore.machine import Machine, seeded
from cxrscore.model import CXRModel, build_model

TINY = "test_resnet"  # timm's smallest, 0.5 million parameters
COUPLING = {"kind": "coupling", "dropout": 0.1, "alpha": 0.3, "l1": 1e-3, "prox": False, "lr_scale": 1.0}


@pytest.fixture
def cpu() -> Machine:
    return Machine(torch.device("cpu"), torch.float32)


@pytest.fixture
def tiny_model(cpu: Machine) -> CXRModel:
    with seeded(cpu, 0):
        return build_model(TINY, init="none", findings=3, head=COUPLING)
