"""params.yaml -> frozen, checked settings, one section a stage.

In    a YAML 1.2 file (1e-4 is a number), every key stated: a default hidden in code would change results
      behind DVC's back.
Out   Params; anything unknown, missing, out of range or of the wrong type is a UserError with line and
      remedy.

Stages see these types for checking only (`if TYPE_CHECKING`): what a setting means reaches their cache key
through the `params:` lists of dvc.yaml, so that a new section or a reworded comment here re-runs nothing.
"""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node

from cxrscore.errors import UserError

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # what numpy and scikit-learn take
Text = Annotated[str, Field(min_length=1)]
RESERVED = frozenset({"fold", "sha256", "width", "height", "shard", "row", "kind", "message"})  # our columns
MAX_BYTES = (
    1_000_000  # a params file of a megabyte is a mistake or an attack, and parsing is not linear in it
)


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class LabelParams(Section):
    """How the label table is read. `findings: []` takes the format's own list."""

    format: Literal["table", "chexpert", "nih"]
    id: Text
    patient: str | None
    study: str | None
    findings: list[Text]
    blank: Literal["zero", "ignore", "error"]
    uncertain: Literal["zero", "one", "ignore", "error"]

    @model_validator(mode="after")
    def _columns_are_told_apart(self) -> Self:
        names = [name for name in (self.id, self.patient, self.study, *self.findings) if name is not None]
        twice = {name for name in names if names.count(name) > 1} | RESERVED.intersection(names)
        if twice:
            raise ValueError(
                f"{', '.join(sorted(twice))}: named twice, or reserved for the pipeline's own tables"
            )
        return self


class PrepareParams(Section):
    size: Annotated[int, Field(ge=32, le=2048)]
    max_unreadable: Share


class FoldParams(Section):
    method: Literal["patient", "image"]
    k: Annotated[int, Field(ge=2, le=100)]
    seed: Seed
    train: list[Annotated[int, Field(ge=0)]]

    @model_validator(mode="after")
    def _train_names_folds_that_exist(self) -> Self:
        if not self.train or len(set(self.train)) != len(self.train) or max(self.train) >= self.k:
            raise ValueError(f"train lists distinct folds from 0 to {self.k - 1}, not {self.train}")
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
            raise ValueError(f"dim ({self.dim}) has to be a multiple of heads ({self.heads})")
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
        raise ValueError(f"0, or 1 and more, not {value}: between them the gradient is infinite at certainty")
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
    mixup: NotNegative  # both parameters of the beta distribution; 0: none

    @model_validator(mode="after")
    def _scale_is_a_range(self) -> Self:
        if self.scale[0] > self.scale[1]:
            raise ValueError(f"scale is [smallest, largest], not {self.scale}")
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
            raise ValueError(f"warmup_epochs ({self.warmup_epochs:g}) is at most epochs ({self.epochs})")
        return self

    @model_validator(mode="after")
    def _the_batch_falls_into_equal_parts(self) -> Self:
        if self.batch_size % self.accumulate or self.batch_size < 2 * self.accumulate:
            raise ValueError(
                f"batch_size ({self.batch_size}) is a multiple of accumulate ({self.accumulate}), with two "
                "images a pass at least, or batch norm has no variance"
            )
        return self

    @model_validator(mode="after")
    def _each_view_counts_once(self) -> Self:
        if len(set(self.views)) != len(self.views) or self.views[0] != "plain":
            raise ValueError(f"views lists distinct views and begins with plain, not {self.views}")
        return self


class Params(Section):
    labels: LabelParams
    prepare: PrepareParams
    folds: FoldParams
    train: TrainParams


def read_params(path: Path) -> Params:
    """Raises UserError with file, line and remedy. Source of the number rules: YAML 1.2.2, section 10.3.2."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; run in a project folder, or make one with `cxrscore init`.")
    if path.stat().st_size > MAX_BYTES:
        raise UserError(f"{path}: {path.stat().st_size} bytes; settings fit in {MAX_BYTES}.")
    text = path.read_text(encoding="utf-8", errors="replace")
    yaml = YAML(typ="safe", pure=True)
    try:
        node = yaml.compose(text)
        _refuse_aliases(path, yaml, text)
        values = YAML(typ="safe", pure=True).load(text)
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UserError(f"{path}:{line}: {error.problem or 'not YAML'}.") from error
    except YAMLError as error:
        raise UserError(f"{path}: {error}") from error
    if not isinstance(values, Mapping):
        raise UserError(f"{path}: sections with settings were expected, such as `prepare:`.")
    try:
        return Params.model_validate(dict(values))
    except ValidationError as error:
        raise UserError(_explain(path, node, error)) from error


def _refuse_aliases(path: Path, yaml: YAML, text: str) -> None:
    for event in yaml.parse(text):  # an anchor can expand to gigabytes, and no settings file needs one
        if type(event).__name__ == "AliasEvent":
            raise UserError(
                f"{path}:{event.start_mark.line + 1}: aliases (*name) are not read; write the value."
            )


def _explain(path: Path, node: Node | None, error: ValidationError) -> str:
    """One line an error: file:line, key, what was found, what would be right."""
    lines = []
    for problem in error.errors():
        keys = [part for part in problem["loc"] if part not in KINDS]
        key = ".".join(str(part) for part in keys)
        message = problem["msg"].removeprefix("Value error, ")  # our own rules say what they found
        if problem["type"] == "extra_forbidden":
            message = f"unknown key{_nearest(problem['loc'])}"
        elif problem["type"] == "missing":
            message = "missing; every setting is stated, see the presets and the README"
        elif problem["type"] == "union_tag_invalid":
            context = problem["ctx"]
            message = f"kind is one of {context['expected_tags']}, not {context['tag']!r}"
        elif problem["type"] != "value_error":
            message = f"{message[0].lower()}{message[1:]} (found {problem['input']!r})"
        lines.append(f"{path}:{_line(node, keys)}: {key}: {message}{'' if message.endswith('?') else '.'}")
    return "\n".join(lines)


def _line(node: Node | None, keys: list[int | str]) -> int:
    line = 1
    for key in keys:
        if not isinstance(node, MappingNode):
            break
        found = [(name, value) for name, value in node.value if name.value == str(key)]
        if not found:
            break
        line, node = found[0][0].start_mark.line + 1, found[0][1]
    return line


def _nearest(loc: Sequence[int | str]) -> str:
    names = _names(Params, [str(key) for key in loc[:-1]])
    close = difflib.get_close_matches(str(loc[-1]), names, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known here: {', '.join(sorted(names))}"


def _names(model: type[BaseModel], keys: list[str]) -> set[str]:
    """The keys that the section at `keys` knows; a kind among these chooses one section of several."""
    models: list[Any] = [model]
    for key in keys:
        fields = [one.model_fields[key].annotation for one in models if key in one.model_fields]
        models = [KINDS[key]] if key in KINDS else [m for field in fields for m in _models(field)]
    return {name for one in models for name in one.model_fields}


def _models(annotation: Any) -> list[type[BaseModel]]:
    choices = getattr(annotation, "__args__", (annotation,))
    return [choice for choice in choices if isinstance(choice, type) and issubclass(choice, BaseModel)]
