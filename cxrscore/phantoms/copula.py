"""How findings occur together: independent normal draws -> the findings of one study, 0 or 1.

In    z (15,) standard normal: one per finding, the last for whether the study has a lateral view.
Out   present (15,) bool, as often and as often together as in the table named below.
A Gaussian copula, cut at the prevalences. ROOT is a square root of its correlation: the tetrachoric
correlations of the table's phi coefficients, No Finding set apart (it follows from the others), each row of
length 1. tests/phantoms/test_copula.py derives it from that table. It is written down because a root that
`numpy.linalg.eigh` gives depends on the processor: the signs of eigenvectors are the BLAS kernel's choice.
Source of the constants: the training table of CheXpert-v1.0 (Irvin et al., AAAI 2019, arXiv:1901.07031),
187,641 studies of 64,540 patients, one row per study, blank and -1 read as 0.
"""

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from cxrscore.tables.datasets.chexpert import FINDINGS

LATERAL = len(FINDINGS)  # the last row and column: whether the study has a lateral view

# fmt: off
PREVALENCE = (
    0.156, 0.123, 0.068, 0.261, 0.048, 0.039, 0.037, 0.494, 0.089, 0.403, 0.013, 0.024, 0.092, 0.564, 0.167,
)
ROOT = np.array((
    (-0.053424, 0.065396, 0.059135, -0.133715, -0.018936, 0.318705, 0.285656, 0.161156,
     0.642664, 0.0, -0.365785, 0.331392, -0.058401, -0.220334, -0.231075),
    (0.02314, -0.002696, 0.085248, -0.583822, 0.037041, -0.007767, -0.223668, -0.089815,
     0.049242, 0.0, -0.007028, -0.293611, -0.514464, 0.34123, -0.349317),
    (-0.146638, 0.131766, 0.074191, -0.144103, 0.056673, -0.058754, -0.091915, -0.068392,
     -0.445461, 0.0, -0.51303, 0.520619, 0.248818, 0.346432, 0.021687),
    (-0.21462, -0.20346, 0.17318, 0.273198, 0.322545, 0.088766, 0.01994, 0.101997,
     -0.0124, 0.0, 0.140681, -0.002329, -0.242299, 0.342364, -0.699518),
    (-0.01846, -0.064482, 0.09199, 0.128378, -0.189464, 0.181894, 0.387505, -0.419979,
     -0.238215, 0.0, -0.456287, -0.473516, -0.278533, -0.07949, 0.044416),
    (-0.039576, -0.067552, -0.163784, -0.141576, 0.310387, -0.227348, 0.290993, 0.556028,
     -0.217944, 0.0, -0.226131, -0.217437, -0.214677, -0.329468, 0.32339),
    (0.011321, -0.058382, -0.135521, -0.06271, 0.577188, 0.081503, -0.029248, -0.420534,
     0.24669, 0.0, -0.107509, -0.183904, 0.398735, 0.125436, 0.419181),
    (-0.168423, 0.254193, 0.032384, -0.077074, -0.108167, 0.007575, 0.138309, 0.175042,
     0.051496, 0.0, 0.129336, -0.593747, 0.605862, 0.174712, -0.262672),
    (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0,
     0.0, -1.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    (0.106644, -0.20537, 0.083803, 0.047592, -0.111142, -0.536302, -0.043558, 0.022515,
     0.247727, 0.0, -0.403698, -0.106431, 0.355103, 0.114354, -0.509846),
    (0.059365, -0.062308, 0.231676, 0.132737, -0.017879, 0.345978, -0.497034, 0.377288,
     0.015177, 0.0, -0.326845, -0.29022, 0.088322, 0.093031, 0.451828),
    (0.084074, -0.277753, -0.007837, -0.190778, -0.152903, 0.235442, 0.378228, 0.166771,
     -0.109997, 0.0, 0.184803, 0.131361, 0.33492, 0.623802, 0.254635),
    (-0.134233, -0.216007, 0.336724, -0.249612, -0.046681, -0.006257, -0.065319, -0.132613,
     -0.0917, 0.0, 0.182566, 0.050421, 0.309724, -0.758934, 0.139183),
    (-0.044623, -0.155863, -0.502529, -0.062889, -0.117611, 0.284186, -0.249229, 0.003896,
     -0.154215, 0.0, -0.132264, -0.047986, 0.197797, -0.286864, -0.628894),
    (-0.260745, -0.122044, -0.200125, 0.018653, -0.283632, -0.195807, -0.13805, -0.055979,
     0.30372, 0.0, -0.025829, -0.02776, -0.215876, 0.255913, 0.727986),
))
# fmt: on
THRESHOLDS = np.array([round(NormalDist().inv_cdf(share), 9) for share in PREVALENCE])  # any libm's logarithm


def draw_present(z: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(15,) independent standard normals -> (15,) bool; what No Finding says here has no meaning yet.

    `math.fsum` rounds once, whatever the order of the sum: the same findings on every processor.
    """
    correlated = np.array([math.fsum(row * z) for row in ROOT])
    return np.asarray(correlated < THRESHOLDS)
