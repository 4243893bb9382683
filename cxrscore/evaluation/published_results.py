"""What others have reported for 14 findings of chest radiographs, and whether a project has those findings.

Source: table I of Srivastava, Gupta & Nath, "Learning sparse label couplings for multilabel chest X-ray
diagnosis", which takes its values from the papers it cites; its own row is the last one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from cxrscore.tables.datasets.chexpert import FINDINGS


@dataclass(frozen=True)
class Published:
    """`area`: the macro-AUC, in the digits that are printed there."""

    study: str
    data: str
    model: str
    split: str
    area: str


NIH, SLAM = "NIH ChestX-ray14", "Grand X-Ray SLAM (B)"
PUBLISHED = (  # by year
    Published("Kumar et al. 2017", NIH, "DenseNet-161, boosted cascade", "random 80/20", "0.7945"),
    Published("Yao et al. 2017", NIH, "CNN features, LSTM over labels", "patients", "0.798"),
    Published("Guan et al. 2018", NIH, "AG-CNN, ResNet-50", "patients 70/10/20", "0.868"),
    Published("Guan et al. 2018", NIH, "AG-CNN, DenseNet-121", "patients 70/10/20", "0.871"),
    Published("Baltruschat et al. 2019", NIH, "ResNet-50 with patient data", "patients, 5 times", "0.822"),
    Published("Baltruschat et al. 2019", NIH, "ResNet-38 with patient data", "official", "0.806"),
    Published("Taslimi et al. 2022", NIH, "SwinCheX, Swin-L", "official", "0.810"),
    Published("Kufel et al. 2023", NIH, "EfficientNet", "patients", "0.8428"),
    Published("Chen et al. 2023", NIH, "CoAtNet-0-rw", "random 70/10/20", "0.842"),
    Published("Xiong et al. 2025", NIH, "ConvNeXtV2, attentive head", "not stated", "0.8523"),
    Published(
        "Srivastava et al. 2025", SLAM, "SE-ResNeXt101, sparse label couplings", "held-out test", "0.926030"
    ),
)


def has_the_papers_findings(findings: Sequence[str]) -> bool:
    """Whether these are the 14 of the last row, in any order. Those of NIH are 14 others."""
    return sorted(findings) == sorted(FINDINGS)
