"""The settings: frozen, one section a stage, each with the values that it may have.

In    what params_file.py has read, every key stated: a default hidden in code would change results behind
      DVC's back.
Out   Params; anything unknown, missing, out of range or of the wrong type is pydantic's ValidationError.

Stages see these types for checking only (`if TYPE_CHECKING`): what a setting means reaches their cache key
through the `params:` lists of dvc.yaml, so that a new section or a reworded comment here re-runs nothing.
"""

import re
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # what numpy and scikit-learn take
Text = Annotated[str, Field(min_length=1)]
RESERVED = frozenset(  # our columns, and those of pandas, which are taken for an index in our tables, too
    {"fold", "sha256", "width", "height", "shard", "row", "pixels_sha256", "kind", "message"}
    | {"index", "level_0"}
)


def _one_group(pattern: str) -> str:
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        raise ValueError(
            f"{pattern!r} is no regular expression ({error}); write one such as '^([0-9]+)_'"
        ) from error
    if groups != 1:
        raise ValueError(
            f"{pattern!r} has {groups} groups; write one with one, which holds the patient: '^([0-9]+)_'"
        )
    return pattern


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class LabelParams(Section):
    """How the label table is read. `findings: []` takes the format's own list."""

    format: Literal["table", "chexpert", "nih"]
    id: Text
    patient: str | None
    patient_pattern: Annotated[str, AfterValidator(_one_group)] | None  # the patient within an id
    study: str | None
    patient_ids: Literal["text", "number", "distinct"]  # of ids such as 2 and 0002
    findings: list[Text]
    blank: Literal["zero", "ignore", "error"]
    uncertain: Literal["zero", "one", "ignore", "error"]
    readers: Literal["error", "majority", "any", "mean"]  # of several rows of an image

    @model_validator(mode="after")
    def _a_pattern_has_a_column(self) -> Self:
        if self.patient_pattern is not None and self.patient is None:
            raise ValueError(
                "patient_pattern is set and patient is null; name the column that out/folds.csv is to have"
            )
        return self

    @model_validator(mode="after")
    def _columns_are_told_apart(self) -> Self:
        names = [name for name in (self.id, self.patient, self.study, *self.findings) if name is not None]
        twice = {name for name in names if names.count(name) > 1} | RESERVED.intersection(names)
        if twice:
            raise ValueError(
                f"{', '.join(sorted(twice))}: named twice, or reserved for the pipeline's own tables; "
                "rename the column"
            )
        return self


class PrepareParams(Section):
    size: Annotated[int, Field(ge=32, le=2048)]
    bit_depth: Annotated[int, Field(ge=8, le=16)] | None  # of samples stored in 16 bits
    max_unreadable: Share


class FoldParams(Section):
    method: Literal["patient", "image"]
    k: Annotated[int, Field(ge=2, le=100)]
    seed: Seed
    train: list[Annotated[int, Field(ge=0)]]

    @model_validator(mode="after")
    def _train_names_folds_that_exist(self) -> Self:
        if not self.train or len(set(self.train)) != len(self.train) or max(self.train) >= self.k:
            raise ValueError(
                f"train lists distinct folds from 0 to {self.k - 1}, not {self.train}; set both k and train"
            )
        return self


Dropout = Annotated[float, Field(ge=0, lt=1)]


class IndependentHead(Section):
    kind: Literal["independent"]
    dropout: Dropout
    pool: Literal["gap", "gmp"]


class CouplingHead(Section):
    kind: Literal["coupling"]
    dropout: Dropout
    alpha: NotNegative
    l1: NotNegative
    prox: bool
    lr_scale: NotNegative  # 0: A stays at zero
    steps: Count
    centred: bool
    conditional: bool
    rank: Count  # of what is conditional


class LampHead(Section):
    kind: Literal["lamp"]
    dropout: Dropout
    graph: Literal["fc", "el", "prior"]
    steps: Count
    dim: Annotated[int, Field(ge=4, multiple_of=4)]  # positions are a sine and a cosine of row and column
    heads: Count
    auxiliary_weight: NotNegative

    @model_validator(mode="after")
    def _heads_share_the_dimensions(self) -> Self:
        if self.dim % self.heads:
            raise ValueError(f"dim is {self.dim}; set it to a multiple of heads ({self.heads})")
        return self


class AgcnHead(Section):
    kind: Literal["agcn"]
    dropout: Dropout
    graph: Literal["learned", "cos", "fc", "dot", "static", "identity"]
    threshold: Share  # of the static graph
    reweight: Share  # of the static graph
    embeddings: Text  # cooccurrence, learned, or a .npy file
    embedding_dim: Count
    hidden: Count
    identity_weight: NotNegative


class SalglHead(Section):
    kind: Literal["salgl"]
    dropout: Dropout
    scenes: Count
    steps: Count
    mixture: Literal["soft", "hard"]
    embeddings: Text  # cooccurrence, learned, or a .npy file
    embedding_dim: Count
    joint_dim: Count
    entropy_weight: NotNegative


def _gamma(value: float) -> float:
    if 0 < value < 1:
        raise ValueError(f"{value} makes the gradient infinite at certainty; set 0, or 1 or more")
    return value


Gamma = Annotated[NotNegative, AfterValidator(_gamma)]


class AsymmetricLossParams(Section):
    kind: Literal["asl"]
    gamma_neg: Gamma
    gamma_pos: Gamma
    clip: Annotated[float, Field(ge=0, lt=1)]
    label_smoothing: Annotated[float, Field(ge=0, lt=1)]


class WeightedBCEParams(Section):
    kind: Literal["bce"]
    max_pos_weight: Annotated[float, Field(ge=1, allow_inf_nan=False)]
    label_smoothing: Annotated[float, Field(ge=0, lt=1)]


class FocalLossParams(Section):
    kind: Literal["focal"]
    gamma: Gamma
    alpha: Annotated[float, Field(gt=0, lt=1)]  # of the positives; 1 - alpha of the negatives
    label_smoothing: Annotated[float, Field(ge=0, lt=1)]


class ZLPRParams(Section):
    kind: Literal["zlpr"]
    label_smoothing: Annotated[float, Field(ge=0, lt=1)]


class AugmentParams(Section):
    scale: Annotated[list[Annotated[float, Field(gt=0, le=1)]], Field(min_length=2, max_length=2)]
    flip: Share
    degrees: Annotated[float, Field(ge=0, le=180)]
    jitter: Share  # of brightness and of contrast; 0: none
    mixup: NotNegative  # both parameters of the beta distribution; 0: none

    @model_validator(mode="after")
    def _scale_is_a_range(self) -> Self:
        if self.scale[0] > self.scale[1]:
            raise ValueError(f"{self.scale} is no range; set scale to [smallest, largest]")
        return self


HeadParams = IndependentHead | CouplingHead | LampHead | AgcnHead | SalglHead
LossParams = AsymmetricLossParams | WeightedBCEParams | FocalLossParams | ZLPRParams
KINDS: dict[Any, type[Section]] = {  # by what a section's `kind` says
    kind: section
    for section in (*get_args(HeadParams), *get_args(LossParams))
    for kind in get_args(section.model_fields["kind"].annotation)
}
View = Literal["plain", "flip", "zoom", "zoom_flip"]


class TrainParams(Section):
    backbone: Text
    init: Text
    init_except: list[Text]
    drop_path: Annotated[float, Field(ge=0, lt=1)]
    freeze_epochs: Annotated[int, Field(ge=0)]
    head: Annotated[HeadParams, Field(discriminator="kind")]
    loss: Annotated[LossParams, Field(discriminator="kind")]
    augment: AugmentParams
    views: Annotated[list[View], Field(min_length=1)]
    epochs: Count
    warmup_epochs: NotNegative
    patience: Count
    batch_size: Annotated[int, Field(ge=2)]  # batch norm has no variance of one image
    accumulate: Count
    lr: Positive
    layer_decay: Annotated[float, Field(gt=0, le=1)]
    weight_decay: NotNegative
    clip_norm: Positive
    ema_decay: Annotated[float, Field(ge=0, lt=1)]
    max_bad_steps: Count
    seed: Seed

    @model_validator(mode="after")
    def _the_rate_reaches_its_peak(self) -> Self:
        if self.warmup_epochs > self.epochs:
            raise ValueError(f"warmup_epochs is {self.warmup_epochs:g}; set at most epochs ({self.epochs})")
        return self

    @model_validator(mode="after")
    def _the_batch_falls_into_equal_parts(self) -> Self:
        if self.batch_size % self.accumulate or self.batch_size < 2 * self.accumulate:
            raise ValueError(
                f"batch_size is {self.batch_size}; set a multiple of accumulate ({self.accumulate}), of "
                "at least two images a pass, or batch norm has no variance"
            )
        return self

    @model_validator(mode="after")
    def _each_view_counts_once(self) -> Self:
        if len(set(self.views)) != len(self.views) or self.views[0] != "plain":
            raise ValueError(f"views is {self.views}; list distinct views, plain first")
        return self


class Params(Section):
    labels: LabelParams
    prepare: PrepareParams
    folds: FoldParams
    train: TrainParams
