"""Breaks the program on purpose, one fault at a time: each has to turn a fast test red.

    python tests/programs/breakages.py             # all, about ten minutes on two cores
    python tests/programs/breakages.py flip eigh   # those whose names contain one of the words

A fault is a line of the package as somebody might write it by mistake. It is made in a copy of the package,
which pytest imports before the installed one; the tests of one file that nothing marks slow have to fail,
and without a break they have to pass. Exit code 1 where a fault is not noticed.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
RED, GREEN = 1, 0  # pytest's exit codes


@dataclass(frozen=True)
class Breakage:
    """In `file`, `right` stands exactly once and becomes `wrong`; a test in `tests` has to fail."""

    name: str
    file: str
    right: str
    wrong: str
    tests: str


BREAKAGES = [
    # scoring
    Breakage(
        "flip: that does not flip",
        "model/predict.py",
        '"flip": lambda gray: gray.flip(-1)',
        '"flip": lambda gray: gray',
        "stories/test_score.py",
    ),
    Breakage(
        "flip: the zoomed view",
        "model/predict.py",
        "zoomed(gray).flip(-1)",
        "zoomed(gray)",
        "model/test_predict.py",
    ),
    Breakage(
        "mean: the first fold for it",
        "scoring/output.py",
        "def fold_mean(values: NDArray[np.float32]) -> NDArray[np.float32]:",
        "def fold_mean(values: NDArray[np.float32]) -> NDArray[np.float32]:\n    return values[0]",
        "stories/test_score.py",
    ),
    Breakage(
        "mean: the first view for it",
        "model/predict.py",
        "    total = stack[0]\n",
        "    return stack[0]\n    total = stack[0]\n",
        "model/test_predict.py",
    ),
    Breakage(
        "rows: each one place up",
        "scoring/score_rows.py",
        "row = probs[:, i]",
        "row = probs[:, i - 1]",
        "stories/test_score.py",
    ),
    Breakage(
        "rows: of a second try, in another's place",
        "scoring/score_rows.py",
        "start=positions[rows.start]",
        "start=positions[-1 - rows.start]",
        "scoring/test_second_try.py",
    ),
    Breakage(
        "rows: of a second try, not kept",
        "scoring/score_rows.py",
        "run.journal.replace(tried)",
        "pass",
        "scoring/test_second_try.py",
    ),
    Breakage(
        "rows: a journal's shard is not checked",
        "scoring/journal.py",
        "if stated != MAGIC + sha256_bytes(payload).encode():",
        "if False:",
        "scoring/test_journal.py",
    ),
    Breakage(
        "rows: another run is gone on with",
        "scoring/provenance.py",
        "def first_difference(",
        "def first_difference(*_, **__):\n    return None\n\n\ndef _unused(",
        "scoring/test_resume.py",
    ),
    Breakage(
        "rows: digits are lost",
        "tables/score_table.py",
        "{prob:.7g}",
        "{prob:.4g}",
        "tables/test_score_table.py",
    ),
    # reading
    Breakage(
        "pixels: EXIF is ignored",
        "images/reading.py",
        "turned = pixels.T if orientation >= 5 else pixels",
        "turned, orientation = pixels, 1",
        "images/test_reading.py",
    ),
    Breakage(
        "pixels: 16 bits are shifted, not divided",
        "images/reading.py",
        "2 ** (bit_depth or 16) - 1",
        "65280",
        "images/test_reading.py",
    ),
    Breakage(
        "pixels: an inverted film stays inverted",
        "images/reading.py",
        "(255 - shades if header.white_is_zero else shades)",
        "shades",
        "images/test_reading.py",
    ),
    Breakage(
        "listing: what is opened is not compared",
        "images/decoding/decode.py",
        "if not place.is_still(identity_of(about)):",
        "if False:",
        "images/test_changed_inputs.py",
    ),
    Breakage(
        "listing: the inode is not compared",
        "images/inputs/byte_source.py",
        "*(_signed(about.st_dev), _signed(about.st_ino),",
        "*(_signed(about.st_dev), 0,",
        "images/test_changed_inputs.py",
    ),
    Breakage(
        "TIFF: strips may share bytes",
        "images/formats/tiff_strips.py",
        "if start < end and (part or is_part):",
        "if False:",
        "images/test_whole_pictures.py",
    ),
    Breakage(
        "TIFF: raw strips may be short",
        "images/formats/tiff_strips.py",
        "if raw and length not in (parts.least(i), parts.most):",
        "if False:",
        "images/test_whole_pictures.py",
    ),
    Breakage(
        "JPEG: scans may be missing",
        "images/formats/jpeg.py",
        "    if any(any(left) for left in low_bits.values()):",
        "    if False:",
        "images/test_whole_pictures.py",
    ),
    Breakage(
        "GIF: the frame may be smaller than the screen",
        "images/formats/gif.py",
        "if len(frames) == 1 and (x, y, *size) != (0, 0, width, height):",
        "if False:",
        "images/test_whole_pictures.py",
    ),
    Breakage(
        "PNG: the end of the pixels is not asked for",
        "images/formats/png.py",
        "if len(rows) < expected or not (inflate.eof or beyond):",
        "if len(rows) < expected:",
        "images/test_whole_pictures.py",
    ),
    Breakage(
        "orientation: XMP is ignored",
        "images/formats/orientation.py",
        "found = XMP.search(xmp)",
        "found = None",
        "images/test_orientation.py",
    ),
    Breakage(
        "depth: the brightest sample decides",
        "images/reading.py",
        "    return bool(between > 0 and reached < FEW * between)",
        "    return False",
        "images/test_reading.py",
    ),
    Breakage(
        "depth: the model's is not used",
        "scoring/setup.py",
        "bit_depth=options.bit_depth or card.bit_depth",
        "bit_depth=options.bit_depth",
        "stories/test_score.py",
    ),
    Breakage(
        "archive: hard links are left out",
        "images/inputs/tar.py",
        "add_link(index, member.name, member.linkname, hard=member.islnk())",
        "pass",
        "images/test_archive.py",
    ),
    Breakage(
        "store: pixels are not compared",
        "images/image_store.py",
        "if not self.checked[row]:",
        "if False:",
        "images/test_image_store.py",
    ),
    Breakage(
        "labels: a blank that is ignored counts",
        "tables/labels.py",
        'mask[found] = policy != "ignore"',
        "mask[found] = True",
        "tables/test_labels.py",
    ),
    Breakage(
        "tables: large ones are read without a check",
        "tables/polars_frames.py",
        'all(line.count(b",") == commas and len(line) <= longest for line in (header, *lines))',
        "True",
        "tables/test_polars_frames.py",
    ),
    # folds and training
    Breakage(
        "folds: training sees the validated rows",
        "training/fold_data.py",
        "np.flatnonzero(folds.fold != fold)",
        "np.flatnonzero(folds.fold >= 0)",
        "stories/test_train.py",
    ),
    Breakage(
        "train: labels of the neighbour",
        "training/epochs.py",
        "data.targets[at], data.mask[at]",
        "data.targets[at.roll(1)], data.mask[at]",
        "stories/test_train.py",
    ),
    Breakage(
        "train: the average is not restored",
        "training/learner.py",
        '        self.averaged.load_state_dict(_under("ema.", tensors))\n',
        "",
        "training/test_resuming.py",
    ),
    Breakage(
        "train: the optimizer is not restored",
        "training/learner.py",
        "            if kept:",
        "            if False:",
        "training/test_resuming.py",
    ),
    Breakage(
        "train: always the raw weights",
        "training/epochs.py",
        "better = max(areas, key=lambda name: np.nan_to_num(areas[name], nan=-1.0))",
        'better = "raw"',
        "stories/test_train.py",
    ),
    Breakage(
        "train: statistics move twice by checkpointing",
        "training/learner.py",
        "                if passed:\n",
        "                if False:\n",
        "training/test_learner.py",
    ),
    Breakage(
        "train: a step that is not finite changes statistics",
        "training/learner.py",
        "            self.buffers.restore()\n",
        "",
        "training/test_learner.py",
    ),
    Breakage(
        "train: gradients are not clipped",
        "training/learner.py",
        "self.model.parameters(), self.clip_norm)",
        "self.model.parameters(), 1e9)",
        "training/test_learner.py",
    ),
    Breakage(
        "train: an average without its warm-up",
        "training/learner.py",
        "weight = 1 - (self.ema.get_decay(self.steps) if self.ema_warmup else self.ema.decay)",
        "weight = 1 - self.ema.decay",
        "training/test_learner.py",
    ),
    Breakage(
        "train: pixels are left out of the fingerprint",
        "training/job.py",
        "job.data.store.size, job.data.store.preprocessing, job.data.store.bit_depth",
        "",
        "training/test_resume_state.py",
    ),
    Breakage(
        "ranks: every process takes the first one's rows",
        "training/process_group.py",
        "pieces[:, :, world.rank]",
        "pieces[:, :, 0]",
        "training/test_process_group.py",
    ),
    Breakage(
        "jitter: the factors of another image",
        "training/epochs.py",
        "jitter(pixels, colours[chunk])",
        "jitter(pixels, colours[: len(chunk)])",
        "stories/test_train.py",
    ),
    Breakage(
        "train: always the average's warm-up",
        "training/learner.py",
        "weight = 1 - (self.ema.get_decay(self.steps) if self.ema_warmup else self.ema.decay)",
        "weight = 1 - self.ema.get_decay(self.steps)",
        "training/test_learner.py",
    ),
    Breakage(
        "train: which weights to keep is not asked",
        "training/epochs.py",
        'kept = better if params.weights == "best" else params.weights',
        "kept = better",
        "stories/test_train.py",
    ),
    Breakage(
        "optimizer: adam for all",
        "training/learner.py",
        "OPTIMIZERS[optimizer](groups",
        'OPTIMIZERS["adam"](groups',
        "training/test_learner.py",
    ),
    Breakage(
        "optimizer: momentum of the schedule is lost",
        "training/learner.py",
        "                _set_momentum(group, momentum)",
        "                pass",
        "training/test_learner.py",
    ),
    Breakage(
        "schedule: steps are counted from the warm-up",
        "training/schedule.py",
        "TENTH ** (step // every)",
        "TENTH ** (max(0, step - warmup) // every)",
        "training/test_schedule.py",
    ),
    Breakage(
        "schedule: the peak a step late",
        "training/schedule.py",
        "top, last = RISE * total - 1, total - 1",
        "top, last = RISE * total, total - 1",
        "training/test_schedule.py",
    ),
    Breakage(
        "schedule: a cycle without a rise",
        "training/preflight.py",
        'if params.schedule == "one_cycle" and steps < FEWEST_OF_A_CYCLE:',
        "if False:",
        "training/test_preflight.py",
    ),
    Breakage(
        "RandAugment: all one way",
        "training/rand_augment.py",
        "return sign * value if self.signed else value",
        "return value",
        "training/test_rand_augment.py",
    ),
    Breakage(
        "RandAugment: one operation too few",
        "training/rand_augment.py",
        "np.floor(len(OPERATIONS) * u[..., 0])",
        "np.floor((len(OPERATIONS) - 1) * u[..., 0])",
        "training/test_rand_augment.py",
    ),
    Breakage(
        "cutout: its corner for its centre",
        "training/augment.py",
        "(centre * size).floor() - length // 2",
        "(centre * size).floor()",
        "training/test_augment.py",
    ),
    Breakage(
        "cutout: black, not gray",
        "training/augment.py",
        "pixels.masked_fill(hole[:, None], BLANK)",
        "pixels.masked_fill(hole[:, None], 0.0)",
        "training/test_augment.py",
    ),
    Breakage(
        "crops: never square",
        "training/augment.py",
        "log_aspect = 0.0 if square else LOG_ASPECT",
        "log_aspect = LOG_ASPECT",
        "training/test_augment.py",
    ),
    # losses
    Breakage(
        "loss: a mean over findings",
        "model/loss.py",
        ".masked_fill(~mask, 0).sum() / len(entries)",
        ".masked_fill(~mask, 0).mean()",
        "model/test_loss.py",
    ),
    Breakage(
        "loss: masked entries count",
        "model/loss.py",
        "entries.masked_fill(~mask, 0).sum()",
        "entries.sum()",
        "model/test_loss.py",
    ),
    Breakage(
        "loss: the margin is added",
        "model/loss.py",
        "p_shifted = (p - clip).clamp(min=0)",
        "p_shifted = (p + clip).clamp(max=1)",
        "model/test_loss.py",
    ),
    # heads
    Breakage(
        "coupling: a finding speaks to itself",
        "model/heads/coupling.py",
        "return self.A * self.off_diagonal",
        "return self.A",
        "model/test_coupling.py",
    ),
    Breakage(
        "coupling: the penalty back on u",
        "model/heads/coupling.py",
        "return size + self.v.float().abs().sum() if",
        "return size + self.u.float().abs().sum() + self.v.float().abs().sum() if",
        "model/test_coupling.py",
    ),
    Breakage(
        "coupling: no exact zeros",
        "model/heads/coupling.py",
        "(matrix.abs() - threshold).clamp(min=0)",
        "matrix.abs()",
        "model/test_coupling.py",
    ),
    Breakage(
        "lamp: intermediate readouts are detached",
        "model/heads/lamp.py",
        "(nodes.float() * self.W_y.float())",
        "(nodes.float() * self.W_y.detach().float())",
        "model/test_lamp.py",
    ),
    Breakage(
        "lamp: no prior in the bias",
        "model/heads/lamp.py",
        "        self.b.copy_(torch.from_numpy(np.log(share / (1 - share))))\n",
        "",
        "model/test_lamp.py",
    ),
    Breakage(
        "lamp: a node without neighbours changes",
        "model/heads/lamp.py",
        "return torch.where(links.any(-1, keepdim=True), updated, nodes), attention",
        "return updated, attention",
        "model/test_lamp.py",
    ),
    Breakage(
        "lamp: no residual around attention",
        "model/heads/lamp.py",
        "self.attention_norm(nodes + self.join(heard))",
        "self.attention_norm(self.join(heard))",
        "model/test_lamp.py",
    ),
    Breakage(
        "agcn: fc transposed",
        "model/heads/agcn.py",
        "(E @ head.W_l).T",
        "(E @ head.W_l)",
        "model/test_agcn.py",
    ),
    Breakage(
        "agcn: the graph is detached",
        "model/heads/agcn.py",
        "A_hat = normalised(self.adjacency(), signed=self.signed)\n            H",
        "A_hat = normalised(self.adjacency().detach(), signed=self.signed)\n            H",
        "model/test_agcn.py",
    ),
    Breakage(
        "agcn: degrees that can be negative",
        "model/heads/agcn.py",
        "torch.where(guarded(A), degrees, linked.sum(1))",
        "linked.sum(1)",
        "model/test_agcn.py",
    ),
    Breakage(
        "salgl: a batch sees its own labels",
        "model/heads/salgl.py",
        "        graph = self.graph(pi)\n",
        "        if self.training and y is not None:\n"
        "            self._count(pi.argmax(1), shown=(y > 0.5) & mask, known=mask)\n"
        "        graph = self.graph(pi)\n",
        "model/test_salgl.py",
    ),
    Breakage(
        "salgl: what nobody shows is not a number",
        "model/heads/salgl.py",
        "self.given.clamp(min=1)",
        "self.given",
        "model/test_salgl.py",
    ),
    Breakage(
        "salgl: messages run backwards",
        "model/heads/salgl.py",
        "message = graph.mT @ h",
        "message = graph @ h",
        "model/test_salgl.py",
    ),
    Breakage(
        "coupling: mu draws A to zero",
        "model/heads/coupling.py",
        "apart = self.coupling().float() - self.cooccurrence",
        "apart = self.coupling().float()",
        "model/test_coupling.py",
    ),
    Breakage(
        "lamp: feature messages are thrown away",
        "model/heads/lamp.py",
        "            tokens, _ = step(tokens, tokens, self.every)",
        "            step(tokens, tokens, self.every)",
        "model/test_lamp.py",
    ),
    Breakage(
        "lamp: el without its update",
        "model/heads/lamp.py",
        'return PARTS[:1] if self.graph == "el" and self.feature_steps is None else PARTS',
        'return PARTS[:1] if self.graph == "el" else PARTS',
        "model/test_lamp.py",
    ),
    Breakage(
        "lamp: a given graph is not taken",
        "model/heads/lamp.py",
        "self.links.copy_(torch.from_numpy(read_label_graph(Path(self.settings.graph), findings)))",
        "read_label_graph(Path(self.settings.graph), findings)",
        "model/test_lamp.py",
    ),
    Breakage(
        "graph: edges run backwards",
        "tables/label_graph.py",
        "links[row[target], row[source]] = True",
        "links[row[source], row[target]] = True",
        "tables/test_label_graph.py",
    ),
    Breakage(
        "graph: a,b informs one way",
        "tables/label_graph.py",
        "|= columns == BOTH_WAYS",
        "|= False",
        "tables/test_label_graph.py",
    ),
    Breakage(
        "agcn: degrees are always of absolute values",
        "model/heads/agcn.py",
        "    if signed:\n        degrees",
        "    if False:\n        degrees",
        "model/test_agcn.py",
    ),
    Breakage(
        "agcn: the penalty beside a mean over findings",
        "model/heads/agcn.py",
        "self.settings.identity_weight * len(A_hat) * distance",
        "self.settings.identity_weight * distance",
        "model/test_agcn.py",
    ),
    Breakage(
        "agcn: both directions are the paper's",
        "tables/cooccurrence.py",
        'return found if direction == "paper" else found.T',
        "return found",
        "tables/test_cooccurrence.py model/test_agcn.py",
    ),
    Breakage(
        "agcn: pushes from target to source",
        "model/heads/agcn.py",
        "parts = says[:, :, None] * graph.T",
        "parts = says[:, :, None] * graph",
        "model/test_agcn.py",
    ),
    Breakage(
        "salgl: the reset gate outside",
        "model/heads/salgl.py",
        "(new + self.U(r * h)).tanh()",
        "(new + r * self.U(h)).tanh()",
        "model/test_salgl.py",
    ),
    Breakage(
        "salgl: the entropies beside a mean over findings",
        "model/heads/salgl.py",
        "weight = self.settings.entropy_weight * logits.shape[1]",
        "weight = self.settings.entropy_weight",
        "model/test_salgl.py",
    ),
    Breakage(
        "salgl: without steps the mean of all places",
        "model/heads/salgl.py",
        "return HeadOutput(self._logits(self._vectors(features)))",
        "return HeadOutput(self._logits(self._vectors(features.mean((2, 3), keepdim=True))))",
        "model/test_salgl.py",
    ),
    Breakage(
        "salgl: alone, with messages",
        "model/heads/salgl.py",
        "for P in (0 * graph, graph)]",
        "for P in (graph, graph)]",
        "model/test_salgl.py",
    ),
    # statistics
    Breakage(
        "ablate: scores are not checked against their sha256",
        "ablation/runs.py",
        "return bool(told == (fingerprint, sha256_file(scores)))",
        "return bool(told[0] == fingerprint)",
        "stories/test_ablate.py",
    ),
    Breakage(
        "ablate: changed labels go into experiments",
        "ablation/experiments.py",
        "    if any(str(path).startswith(",
        "    if False and any(str(path).startswith(",
        "ablation/test_experiments.py",
    ),
    Breakage(
        "bootstrap: one fold's patients for all",
        "statistics/bootstrap.py",
        "weights = [_of_images(times, fold.patient) for fold in folds]",
        "weights = [_of_images(times, folds[0].patient)[: len(fold.y)] for fold in folds]",
        "statistics/test_bootstrap.py",
    ),
    Breakage(
        "evaluate: scores of another row",
        "tables/polars_frames.py",
        'how="left", maintain_order="left"',
        'how="left", maintain_order="right"',
        "tables/test_polars_frames.py stories/test_evaluate.py",
    ),
    Breakage(
        "test: a trained patient is tested",
        "evaluation/held_out.py",
        "    if both:\n",
        "    if False:\n",
        "stories/test_test.py",
    ),
    Breakage(
        "test: a trained patient in another spelling is tested",
        "evaluation/held_out.py",
        'if numbers and patient_ids == "number":',
        "if False:",
        "stories/test_test.py",
    ),
    Breakage(
        "test: the spread of the first image",
        "test.py",
        "means = table.probs.mean(0, dtype=np.float64)",
        "means = table.probs[0]",
        "stories/test_test.py",
    ),
    Breakage(
        "evaluate: masked labels are among the worst",
        "evaluation/prediction_tables.py",
        "np.flatnonzero(scored.table.mask[:, j] & (scored.table.y[:, j] == label))",
        "np.flatnonzero(scored.table.y[:, j] == label)",
        "evaluation/test_prediction_tables.py",
    ),
    Breakage(
        "ablate: the reference is the independent head",
        "ablation/table.py",
        "    reference = scored.reference\n",
        '    reference = "independent"\n',
        "stories/test_ablate.py",
    ),
    Breakage(
        "ablate: rows are looked at as they come",
        "ablation/runs.py",
        "    refuse_bad_rows(runs, labels_csv=labels_csv, machine=machine)\n",
        "",
        "stories/test_ablate.py",
    ),
    Breakage(
        "data use: settings are not put back",
        "project/data_files.py",
        "        _restore_settings(project, old)\n",
        "        pass\n",
        "project/test_create.py",
    ),
    # another machine
    Breakage(
        "eigh: decides the cohort",
        "phantoms/copula.py",
        "    correlated = np.array([math.fsum(row * z) for row in ROOT])\n",
        "    values, vectors = np.linalg.eigh(ROOT @ ROOT.T)\n"
        "    correlated = vectors * np.sqrt(values.clip(0)) @ z\n",
        "stories/test_portable.py",
    ),
    Breakage(
        "eigh: its vectors are the embeddings",
        "tables/cooccurrence.py",
        "    values, vectors = np.linalg.eigh(positive_mutual_information(y, mask))\n",
        "    values, vectors = np.linalg.eigh(positive_mutual_information(y, mask))\n"
        "    return (vectors * np.sqrt(np.abs(values)))[:, :dim].astype(np.float32)\n",
        "stories/test_portable.py",
    ),
    Breakage(
        "names: the first of two files",
        "tables/image_names.py",
        "        if len(those) == 1 and claims[those[0]] == 1:",
        "        if those and claims[those[0]] <= 1:",
        "tables/test_image_names.py",
    ),
    Breakage(
        "names: a file for two names",
        "tables/image_names.py",
        "        if len(those) == 1 and claims[those[0]] == 1:",
        "        if len(those) == 1:",
        "tables/test_image_names.py",
    ),
    Breakage(
        "tables: an index is never seen",
        "tables/foreign_table.py",
        "index = [0] if 0 in nameless and _only_numbers_rows(names, reading.columns) else []",
        "index: list[int] = []",
        "tables/test_foreign_table.py",
    ),
    Breakage(
        "tables: ids are taken for an index",
        "tables/foreign_table.py",
        "    words = [other for other in columns[1:] if not any(map(_is_value, other))]\n",
        "    words = columns[1:]\n",
        "tables/test_foreign_table.py",
    ),
    Breakage(
        "readers: a tie is a no",
        "tables/label_table.py",
        'tie = half & (rule == "majority")',
        'tie = half & (rule == "tie")',
        "tables/test_readers.py",
    ),
    Breakage(
        "readers: a row twice is two readers",
        "tables/labels.py",
        "    if names_readers:\n",
        "    if False:\n",
        "tables/test_readers.py",
    ),
    Breakage(
        "studies: one number for two patients",
        "images/inputs/path_table.py",
        "    if len(set(zip(owners, cells, strict=True))) > len(set(cells)):",
        "    if False:",
        "images/test_path_table.py",
    ),
    Breakage(
        "template: a filled id takes the next file's scores",
        "scoring/row_plan.py",
        "return whole, [at[name] if name in lost else next(found) for name in ids]",
        "return whole, [*found, *(at[name] for name in missing)]",
        "stories/test_score.py",
    ),
    Breakage(
        "labels: the first wrong cell of a set",
        "tables/labels.py",
        "    for line, cell in zip(table.lines, cells, strict=True) if None in code_of.values() else ():\n",
        "    for line, cell in zip(table.lines, set(cells)) if None in code_of.values() else ():\n",
        "tables/test_labels.py",
    ),
    Breakage(
        "embeddings: rounding errors become columns",
        "tables/cooccurrence.py",
        "if rest[pivot, pivot] < SMALLEST_PIVOT:",
        "if False:",
        "tables/test_cooccurrence.py",
    ),
    Breakage(
        "embeddings: the pivot is a rounding's choice",
        "tables/cooccurrence.py",
        "rest.diagonal().round(DECIMALS).argmax()",
        "rest.diagonal().argmax()",
        "stories/test_portable.py",
    ),
    Breakage(
        "copula: a sum in the BLAS's order",
        "phantoms/copula.py",
        "correlated = np.array([math.fsum(row * z) for row in ROOT])",
        "correlated = ROOT @ z",
        "phantoms/test_copula.py",
    ),
    Breakage(
        "jitter: from mixup's stream",
        "training/augment.py",
        "[seed, epoch, 3]",
        "[seed, epoch, 2]",
        "training/test_augment.py",
    ),
    Breakage(
        "names: printed as they are",
        "core/text_table.py",
        "    if not text.isprintable():",
        "    if False:",
        "scoring/test_odd_names.py",
    ),
    Breakage(
        "tables: columns wider than the terminal",
        "cli/terminal.py",
        "widths = [min(one, room) for one in needed[1:]]",
        "widths = [1 for one in needed[1:]]",
        "core/test_text_table.py",
    ),
    Breakage(
        "seal: over the tensors alone",
        "core/safetensors_digest.py",
        '_canonical({"facts": facts, "tensors": digest}).encode()',
        '_canonical({"tensors": digest}).encode()',
        "core/test_safetensors_digest.py",
    ),
    Breakage(
        "seal: over the facts alone",
        "core/safetensors_digest.py",
        '_canonical({"facts": facts, "tensors": digest}).encode()',
        '_canonical({"facts": facts}).encode()',
        "core/test_safetensors_digest.py",
    ),
    Breakage(
        "seal: of the tensors, never checked",
        "core/safetensors_digest.py",
        "if found != stated:",
        "if False:",
        "core/test_safetensors_digest.py",
    ),
    Breakage(
        "seal: an unsealed file goes through",
        "core/safetensors_digest.py",
        "    if is_unsealed(entry):\n",
        "    if is_unsealed(entry):\n"
        "        return {'card': {**entry['card'], 'schema': 2, 'bit_depth': None}}\n",
        "core/test_safetensors_digest.py",
    ),
    Breakage(
        "seal: the file replaced after its card was checked",
        "model/ensemble.py",
        "    _refuse_replaced(loaded, cards)\n",
        "",
        "core/test_safetensors_digest.py",
    ),
    Breakage(
        "seal: a damaged start taken for a stranger's",
        "training/job.py",
        "if not is_ours(init):",
        "if True:",
        "stories/test_train.py",
    ),
    Breakage(
        "card: True for a number",
        "model/checkpoint.py",
        "type(value) is int and low",
        "isinstance(value, int) and low",
        "model/test_checkpoint.py",
    ),
]


def broken(breakage: Breakage, folder: Path) -> Path:
    """A copy of the package with the fault in it; the folder to import from."""
    package = Path(
        shutil.copytree(
            ROOT / "cxrscore", folder / "cxrscore", ignore=shutil.ignore_patterns("demo", "__pycache__")
        )
    )
    (package / "demo").symlink_to(ROOT / "cxrscore" / "demo")
    path = package / breakage.file
    text = path.read_text(encoding="utf-8")
    assert text.count(breakage.right) == 1, f"{breakage.name}: {breakage.file} has changed; write it anew"
    path.write_text(text.replace(breakage.right, breakage.wrong), encoding="utf-8")
    return folder


def pytest_says(tests: str, folder: Path | None) -> tuple[int, str]:
    """pytest's exit code and its first failure; `-P`, so that the package at hand does not come first."""
    files = [f"tests/{name}" for name in tests.split()]
    words = [
        sys.executable,
        "-P",
        "-m",
        "pytest",
        "-x",
        "-n",
        "0",
        "-p",
        "no:cacheprovider",
        "--tb=no",
        *files,
    ]
    environment = os.environ | ({"PYTHONPATH": str(folder)} if folder else {}) | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return done.returncode, failed[0] if failed else done.stdout[-300:]


def passes(tests: str) -> bool:
    code, said = pytest_says(tests, None)
    if code != GREEN:
        say(f"RED WITHOUT A BREAK  {tests}  {said}")
    return code == GREEN


def noticed(breakage: Breakage) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        code, said = pytest_says(breakage.tests, broken(breakage, Path(folder)))
    say(f"{'red' if code == RED else 'NOT NOTICED'}  {breakage.name}  {said}")
    return code == RED


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(words: list[str]) -> int:
    chosen = [one for one in BREAKAGES if not words or any(word in one.name for word in words)]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        unbroken = list(pool.map(passes, sorted({one.tests for one in chosen})))
        found = list(pool.map(noticed, chosen))
    say(f"{sum(unbroken)} of {len(unbroken)} files of tests pass without a break")
    say(f"{sum(found)} of {len(found)} breakages turn a fast test red")
    return 0 if all(unbroken) and all(found) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
