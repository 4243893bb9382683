"""The settings: frozen, one section per stage, each with the values that it may have.

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
            f"{pattern!r} is not a regular expression ({error}); write one such as '^([0-9]+)_'"
        ) from error
    if groups != 1:
        raise ValueError(
            f"{pattern!r} has {groups} groups; use exactly one, around the patient: '^([0-9]+)_'"
        )
    return pattern


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class LabelParams(Section):
    """How the label table is read. `findings: []` takes the format's own list."""

    format: Literal["table", "chexpert", "nih"] = Field(
        description="One column per finding (table), or CheXpert's or NIH ChestX-ray14's own table."
    )
    id: Text = Field(description="Column that names the images.")
    patient: str | None = Field(
        description="Column of patients; null where none is known, with folds.method image."
    )
    patient_pattern: Annotated[str, AfterValidator(_one_group)] | None = Field(
        description="Regular expression whose one group is the patient within an id; null: the column above."
    )
    study: str | None = Field(
        description="Column of studies, for means over a study; null where none is known."
    )
    patient_ids: Literal["text", "number", "distinct"] = Field(
        description="Ids such as 2 and 0002: refused in folds by patient, one patient, or two."
    )
    findings: list[Text] = Field(
        description="Columns that are findings, in the score table's order; []: the format's own list."
    )
    blank: Literal["zero", "ignore", "error"] = Field(
        description="A blank label is negative (zero), left out of loss and metrics (ignore), or refused."
    )
    uncertain: Literal["zero", "one", "ignore", "error"] = Field(
        description="A label of -1 is negative (zero), positive (one), left out (ignore), or refused."
    )
    readers: Literal["error", "majority", "any", "mean"] = Field(
        description="Several rows per image are refused, or give their majority, any positive, or their mean."
    )

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
    size: Annotated[int, Field(ge=32, le=2048)] = Field(
        description="Images are resized to size x size pixels."
    )
    train_size: Annotated[int, Field(ge=32, le=4096)] | None = Field(
        description="Side of a larger copy, which random crops are taken from; null: from size x size."
    )
    bit_depth: Annotated[int, Field(ge=8, le=16)] | None = Field(
        description="Bits in use of 16-bit files, such as 12; null: all 16, and dark files are quarantined."
    )
    max_unreadable: Share = Field(description="A larger share of unreadable images stops `prepare`.")

    @model_validator(mode="after")
    def _crops_lose_nothing_and_skip_no_pixel(self) -> Self:
        if self.train_size is not None and not self.size <= self.train_size <= 2 * self.size:
            raise ValueError(
                f"train_size is {self.train_size}; set null, or a side from size ({self.size}) to twice that "
                f"({2 * self.size}): crops are reduced without smoothing"
            )
        return self


class FoldParams(Section):
    method: Literal["patient", "image"] = Field(
        description="Keep patients whole (patient), or split by image as the paper, which leaks patients."
    )
    k: Annotated[int, Field(ge=2, le=100)] = Field(description="Number of folds.")
    seed: Seed = Field(description="Seed of the assignment.")
    train: list[Annotated[int, Field(ge=0)]] = Field(
        description="Folds to train a model for: distinct numbers below k."
    )

    @model_validator(mode="after")
    def _train_names_folds_that_exist(self) -> Self:
        if not self.train or len(set(self.train)) != len(self.train) or max(self.train) >= self.k:
            raise ValueError(
                f"train lists distinct folds from 0 to {self.k - 1}, not {self.train}; set both k and train"
            )
        return self


Dropout = Annotated[float, Field(ge=0, lt=1)]


class IndependentHead(Section):
    kind: Literal["independent"] = Field(description="Each finding for itself.")
    dropout: Dropout = Field(description="Share of the pooled features that is dropped in training.")
    pool: Literal["gap", "gmp"] = Field(
        description="Global average pooling (gap) or global maximum pooling (gmp)."
    )


class MlpHead(Section):
    kind: Literal["mlp"] = Field(description="Each finding for itself, behind one hidden layer.")
    dropout: Dropout = Field(description="Share of the hidden layer that is dropped in training.")
    hidden: Count = Field(description="Width of the hidden layer.")
    pool: Literal["gap", "gmp"] = Field(
        description="Global average pooling (gap) or global maximum pooling (gmp)."
    )


class CouplingHead(Section):
    kind: Literal["coupling"] = Field(description="The paper's sparse label couplings.")
    dropout: Dropout = Field(description="Share of the pooled features that is dropped in training.")
    alpha: NotNegative = Field(description="Weight of the couplings on the logits.")
    l1: NotNegative = Field(description="Weight of the L1 penalty on the coupling matrix A.")
    mu: NotNegative = Field(
        description="Weight of the term that draws A to the training fold's co-occurrence; 0: none."
    )
    prox: bool = Field(description="Apply the penalty as a proximal step, which gives exact zeros.")
    lr_scale: NotNegative = Field(
        description="Learning rate of A as a multiple of train.lr; 0 keeps A at zero."
    )
    steps: Count = Field(description="Number of messages, one after another.")
    centred: bool = Field(description="Couple by probability minus prevalence.")
    conditional: bool = Field(description="A also depends on the image, by terms of the rank below.")
    rank: Count = Field(
        description="Rank of the terms that depend on the image; without effect unless conditional is true."
    )


def _label_graph(value: str) -> str:
    if value not in ("fc", "el", "prior") and not value.endswith(".csv"):
        raise ValueError(f"one of fc, el, prior, or a .csv file of edges is needed, not {value!r}")
    return value


class LampHead(Section):
    kind: Literal["lamp"] = Field(description="Label message passing by attention.")
    dropout: Dropout = Field(description="Share of the image features that is dropped in training.")
    graph: Annotated[Text, AfterValidator(_label_graph)] = Field(
        description="Edges between findings: all (fc), none (el), pairs seen in the training fold (prior), "
        "or those of a .csv file."
    )
    steps: Count = Field(description="Number of rounds of messages.")
    dim: Annotated[int, Field(ge=4, multiple_of=4)] = Field(
        description="Width of the nodes, a multiple of heads."
    )  # positions are a sine and a cosine of row and column
    heads: Count = Field(description="Number of attention heads.")
    auxiliary_weight: NotNegative = Field(description="Weight of the loss of the steps before the last.")
    feature_steps: Annotated[int, Field(ge=0)] = Field(
        description="Rounds of messages among places of the image, before findings read them."
    )
    inputs: list[Text] = Field(
        description="Columns of the label table that findings read beside the image, such as Sex and Age."
    )

    @model_validator(mode="after")
    def _each_input_counts_once(self) -> Self:
        if len(set(self.inputs)) != len(self.inputs):
            raise ValueError(f"inputs is {self.inputs}; list distinct columns")
        return self

    @model_validator(mode="after")
    def _heads_share_the_dimensions(self) -> Self:
        if self.dim % self.heads:
            raise ValueError(f"dim is {self.dim}; set it to a multiple of heads ({self.heads})")
        return self


class AgcnHead(Section):
    kind: Literal["agcn"] = Field(
        description="A graph convolution over label embeddings makes the classifiers."
    )
    dropout: Dropout = Field(description="Share of the pooled features that is dropped in training.")
    graph: Literal["learned", "cos", "fc", "dot", "static", "identity"] = Field(
        description="Adjacency of the findings; static is ML-GCN's, identity has no edges."
    )
    degrees: Literal["signed", "absolute"] = Field(
        description="Row sums that normalise the graph: as the paper's, with the sum of absolute values only "
        "where they are not positive (signed), or of absolute values in all rows (absolute)."
    )
    threshold: Share = Field(
        description="Conditional probability from which on a pair is an edge of the static graph."
    )
    static: Literal["reweighted", "binary"] = Field(
        description="Weights of the static graph: ML-GCN's re-weighted ones, or 1 for each edge."
    )
    reweight: Share = Field(
        description="Share that a finding takes from its neighbours in the re-weighted static graph."
    )
    direction: Literal["paper", "code"] = Field(
        description="A finding takes from those that often go with it, as ML-GCN's equations say (paper), or "
        "from those that it often goes with, as its published code does (code)."
    )
    embeddings: Text = Field(description="Label embeddings: cooccurrence, learned, or a .npy file.")
    embedding_dim: Count = Field(description="Columns of the embeddings.")
    hidden: Count = Field(description="Width between the two convolutions.")
    identity_weight: NotNegative = Field(
        description="Weight of the penalty that keeps the graph near the identity, in the paper's scale: the "
        "penalty is multiplied by the number of findings, over which the loss is summed."
    )


class SalglHead(Section):
    kind: Literal["salgl"] = Field(
        description="Attention per finding, and a gated graph with co-occurrences per scene."
    )
    dropout: Dropout = Field(description="Share of each finding's features that is dropped in training.")
    scenes: Count = Field(description="Number of scenes.")
    steps: Annotated[int, Field(ge=0)] = Field(
        description="Number of steps of the gated graph; 0: attention alone, without scenes."
    )
    cell: Literal["paper", "torch"] = Field(
        description="Gated update with the reset gate inside, U(r * h) (paper), or torch's GRUCell (torch)."
    )
    mixture: Literal["soft", "hard"] = Field(
        description="Mix the scenes' graphs by probability (soft), or take the likeliest scene (hard)."
    )
    embeddings: Text = Field(description="Label embeddings: cooccurrence, learned, or a .npy file.")
    embedding_dim: Count = Field(description="Columns of the embeddings.")
    joint_dim: Count = Field(description="Width of the space that image and label features share.")
    entropy_weight: NotNegative = Field(
        description="Weight of the loss that makes scenes certain per image and evenly used, as published."
    )


def _gamma(value: float) -> float:
    if 0 < value < 1:
        raise ValueError(
            f"{value} makes the gradient infinite at probabilities of 0 and 1; set 0, or 1 or more"
        )
    return value


Gamma = Annotated[NotNegative, AfterValidator(_gamma)]


class AsymmetricLossParams(Section):
    kind: Literal["asl"] = Field(description="Asymmetric Loss.")
    gamma_neg: Gamma = Field(description="Focusing exponent of the negatives: 0, or 1 or more.")
    gamma_pos: Gamma = Field(description="Focusing exponent of the positives: 0, or 1 or more.")
    clip: Annotated[float, Field(ge=0, lt=1)] = Field(
        description="Negatives with a probability up to this cost nothing."
    )
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = Field(
        description="Targets move this share of the way towards one half."
    )


class WeightedBCEParams(Section):
    kind: Literal["bce"] = Field(description="Binary cross-entropy, weighted.")
    max_pos_weight: Annotated[float, Field(ge=1, allow_inf_nan=False)] = Field(
        description="Positives weigh as many as there are negatives per positive, at most this."
    )
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = Field(
        description="Targets move this share of the way towards one half."
    )


class FocalLossParams(Section):
    kind: Literal["focal"] = Field(description="Focal loss.")
    gamma: Gamma = Field(description="Focusing exponent: 0, or 1 or more.")
    alpha: Annotated[float, Field(gt=0, lt=1)] = Field(
        description="Weight of the positives; negatives weigh 1 - alpha."
    )
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = Field(
        description="Targets move this share of the way towards one half."
    )


class ZLPRParams(Section):
    kind: Literal["zlpr"] = Field(description="ZLPR, a loss over pairs of findings of an image.")
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = Field(
        description="Targets move this share of the way towards one half."
    )


class AugmentParams(Section):
    scale: Annotated[list[Annotated[float, Field(gt=0, le=1)]], Field(min_length=2, max_length=2)] = Field(
        description="Smallest and largest share of the area that a random crop keeps."
    )
    square: bool = Field(
        description="Crops are square; otherwise their aspect ratio is drawn from 3/4 to 4/3."
    )
    flip: Share = Field(description="Probability of a mirror image.")
    degrees: Annotated[float, Field(ge=0, le=180)] = Field(
        description="Largest rotation to either side, in degrees."
    )
    jitter: Share = Field(
        description="Brightness and contrast times a factor from 1 - jitter to 1 + jitter; 0: none."
    )
    rand_ops: Annotated[int, Field(ge=0)] = Field(
        description="Number of RandAugment operations per image; 0: none."
    )
    rand_magnitude: Annotated[int, Field(ge=0, le=30)] = Field(
        description="Magnitude of RandAugment's operations; without effect unless rand_ops is positive."
    )
    cutout: Share = Field(
        description="Side of the square that cutout blanks, as a share of the image's side; 0: none."
    )
    mixup: NotNegative = Field(
        description="Both parameters of the beta distribution that mixes pairs of images; 0: none."
    )

    @model_validator(mode="after")
    def _scale_is_a_range(self) -> Self:
        if self.scale[0] > self.scale[1]:
            raise ValueError(f"{self.scale} is not a range; set scale to [smallest, largest]")
        return self


HeadParams = IndependentHead | MlpHead | CouplingHead | LampHead | AgcnHead | SalglHead
LossParams = AsymmetricLossParams | WeightedBCEParams | FocalLossParams | ZLPRParams
KINDS: dict[Any, type[Section]] = {  # by what a section's `kind` says
    kind: section
    for section in (*get_args(HeadParams), *get_args(LossParams))
    for kind in get_args(section.model_fields["kind"].annotation)
}
View = Literal["plain", "flip", "zoom", "zoom_flip"]


class TrainParams(Section):
    backbone: Text = Field(description="Name of a timm model.")
    init: Text = Field(
        description="Start of the backbone: none (random), imagenet, or a .safetensors file of weights."
    )
    init_except: list[Text] = Field(
        description="Patterns of keys in that file that may not fit, such as blocks.11.*"
    )
    drop_path: Annotated[float, Field(ge=0, lt=1)] = Field(
        description="Stochastic depth, in backbones that have it."
    )
    freeze_epochs: Annotated[int, Field(ge=0)] = Field(
        description="Number of initial epochs that train only the head."
    )
    head: HeadParams = Field(discriminator="kind", description="Label head, chosen by its kind.")
    loss: LossParams = Field(discriminator="kind", description="Loss, chosen by its kind.")
    augment: AugmentParams = Field(description="Random changes of training images.")
    views: Annotated[list[View], Field(min_length=1)] = Field(
        description="Views that scores are averaged over (test-time augmentation), plain first."
    )
    epochs: Count = Field(description="Number of epochs at most.")
    schedule: Literal["cosine", "step", "one_cycle"] = Field(
        description="Course of the learning rate: half a cosine, steps of a tenth, or the 1-cycle policy."
    )
    step_epochs: Count = Field(
        description="Epochs after which the rate is divided by 10; without effect unless schedule is step."
    )
    warmup_epochs: NotNegative = Field(
        description="Epochs in which the learning rate rises, at most epochs; fractions are allowed; "
        "0 with one_cycle, which has its own rise."
    )
    patience: Count = Field(
        description="Training stops after so many epochs without a better validation macro-AUC."
    )
    # batch norm has no variance of one image
    batch_size: Annotated[int, Field(ge=2)] = Field(
        description="Images per step over all processes: a multiple of accumulate, two or more per pass."
    )
    accumulate: Count = Field(
        description="Passes per step, for GPUs with little memory; "
        "batch norm sees batch_size / accumulate images."
    )
    optimizer: Literal["adamw", "adam", "sgd"] = Field(
        description="AdamW, Adam, or stochastic gradient descent with a momentum of 0.9."
    )
    lr: Positive = Field(description="Peak learning rate.")
    layer_decay: Annotated[float, Field(gt=0, le=1)] = Field(
        description="Each lower layer learns slower by this factor."
    )
    weight_decay: NotNegative = Field(
        description="Weight decay, which adam and sgd add to the gradient (L2) and adamw does not."
    )
    clip_norm: Positive = Field(description="Longer gradients are scaled down to this norm.")
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = Field(
        description="Decay of the moving average of the weights."
    )
    ema_warmup: bool = Field(
        description="The decay rises from 0 to ema_decay (true), or is ema_decay from the first step (false)."
    )
    weights: Literal["best", "ema", "raw"] = Field(
        description="Weights that an epoch is judged and kept by: average (ema), raw, or the better (best)."
    )
    max_bad_steps: Count = Field(description="More steps in a row than this that are not finite end the run.")
    seed: Seed = Field(description="Seed of weights, order, augmentation and dropout.")

    @model_validator(mode="after")
    def _the_rate_reaches_its_peak(self) -> Self:
        if self.warmup_epochs > self.epochs:
            raise ValueError(f"warmup_epochs is {self.warmup_epochs:g}; set at most epochs ({self.epochs})")
        return self

    @model_validator(mode="after")
    def _one_cycle_rises_by_itself(self) -> Self:
        if self.schedule == "one_cycle" and self.warmup_epochs:
            raise ValueError(
                f"warmup_epochs is {self.warmup_epochs:g} and schedule is one_cycle, which rises over the "
                "first 30 % of its steps; set warmup_epochs to 0"
            )
        return self

    @model_validator(mode="after")
    def _a_proximal_step_has_its_second_moment(self) -> Self:
        if self.optimizer == "sgd" and getattr(self.head, "prox", False):
            raise ValueError(
                "head.prox is true and optimizer is sgd, which has no second moment to scale the proximal "
                "step by; set optimizer to adamw or adam, or head.prox to false"
            )
        return self

    @model_validator(mode="after")
    def _the_batch_falls_into_equal_parts(self) -> Self:
        if self.batch_size % self.accumulate or self.batch_size < 2 * self.accumulate:
            raise ValueError(
                f"batch_size is {self.batch_size}; set a multiple of accumulate ({self.accumulate}), with "
                "at least two images per pass, which batch norm needs"
            )
        return self

    @model_validator(mode="after")
    def _inputs_are_not_mixed(self) -> Self:
        if self.augment.mixup and getattr(self.head, "inputs", None):
            raise ValueError(
                "augment.mixup blends two images, and head.inputs are of one; set mixup to 0, or inputs to []"
            )
        return self

    @model_validator(mode="after")
    def _each_view_counts_once(self) -> Self:
        if len(set(self.views)) != len(self.views) or self.views[0] != "plain":
            raise ValueError(f"views is {self.views}; list distinct views, plain first")
        return self


Part = Annotated[float, Field(gt=0, lt=1)]


class DecideParams(Section):
    """What `decide` aims at, all on scores of images that no model was trained on."""

    coverage: Part = Field(
        description="Of those with a finding, and of those without, the share not ruled out wrongly."
    )
    sensitivity: Part = Field(description="Least sensitivity of the rule `sensitivity`.")
    specificity: Part = Field(description="Least specificity of the rule `specificity`.")


class Params(Section):
    labels: LabelParams = Field(description="How the label table is read.")
    prepare: PrepareParams = Field(description="How images are decoded and resized, once.")
    folds: FoldParams = Field(description="How images are assigned to folds.")
    train: TrainParams = Field(description="How the model of each fold is trained.")
    decide: DecideParams = Field(description="What thresholds and abstention aim at.")


class ComparedParams(Section):
    """What measures the scores of a run. Other sections may be those of an older or newer version."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)
    labels: LabelParams
    folds: FoldParams
