"""Check and time scoring and training on a machine with an NVIDIA GPU, in one call:

    OUT=results python tests/programs/gpu.py [WHEELS] [STEP ...]

Its python has torch, torchvision, timm, numpy, pillow, safetensors, typer, rich, scipy, matplotlib. WHEELS is
a folder of wheels for what it lacks: simplejpeg to measure; to train also pydantic, pydantic-core,
annotated-types, typing-inspection, typing-extensions and ruamel.yaml; to compare heads polars and
polars-runtime-32. Nothing is fetched from the network; dvc is not needed. Without a STEP all are taken in the
order below. One that fails costs no other, except those that need its files, which lie in $WORK, so that a
later call finds them.

Out   $OUT (default gpu-results): results.jsonl, one line per step: its seconds and its result or error;
      log.txt, what the commands said and the tables for a person. Both grow: a call that is stopped keeps
      what it had.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
ENV = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}


def setting(name, usual):
    """From the environment, in the type of what is usual."""
    return type(usual)(os.environ.get(name, usual))


OUT = Path(setting("OUT", "gpu-results")).resolve()
WORK = Path(setting("WORK", str(Path(tempfile.gettempdir()) / "cxrscore-gpu")))
DEVICE = setting("DEVICE", "cuda")
WORKERS = str(len(os.sched_getaffinity(0)))
BACKBONE, SIZE = setting("BACKBONE", "seresnext101_32x4d"), setting("SIZE", 380)
BATCH_SIZES = setting("BATCH_SIZES", "24,48,96,192").split(",")  # the paper's first
FILES, SCORE_FILES = (
    setting("FILES", 64),
    setting("SCORE_FILES", 512),
)  # the loop reads them six times a round
TRAIN_FILES, ROUNDS = setting("TRAIN_FILES", 768), setting("ROUNDS", 5)
COMPILE = setting("COMPILE", "on")
IMAGES, FEW = setting("IMAGES", 20_000), setting("FEW", 2400)  # phantoms: to compare heads; to be killed with
EPOCHS, BATCH_SIZE = setting("EPOCHS", 3), setting("BATCH_SIZE", 24)
HEADS = setting("HEADS", "coupling")  # to be compared with the independent one, such as coupling,lamp-fc
STATE_S = setting("STATE_S", 2.0)  # of a training that will be killed
STEP_S = setting("STEP_S", 1500.0)  # that one command may take


# ---- running and telling


def log(text):
    with (OUT / "log.txt").open("a") as file:
        file.write(text.rstrip("\n") + "\n")
    sys.stdout.write(text.rstrip("\n") + "\n")
    sys.stdout.flush()


def run(*words):
    """A command -> its stdout; its stderr goes to the log. Raises RuntimeError where it fails."""
    words = [str(word) for word in words]
    log(f"$ {' '.join(words)}"[:400])
    done = subprocess.run(words, cwd=ROOT, env=ENV, capture_output=True, text=True, timeout=STEP_S)
    log(done.stderr[-4000:])
    if done.returncode:
        raise RuntimeError(f"exit code {done.returncode}: {done.stderr[-1500:]}")
    return done.stdout


def cxrscore(*words):
    return run(sys.executable, "-m", "cxrscore", *words)


def take(name, step):
    """One step -> whether it worked; its line in results.jsonl either way."""
    log(f"== {name}")
    record, begun = {"step": name}, time.perf_counter()
    try:
        record["result"] = step()
        CHECKS.get(name, bool)(record["result"])
    except Exception:  # noqa: BLE001 - whatever it is: it is recorded, and the other steps are taken
        record["error"] = traceback.format_exc(limit=3)
        log(record["error"])
    record["seconds"] = round(time.perf_counter() - begun, 1)
    with (OUT / "results.jsonl").open("a") as file:
        file.write(json.dumps(record) + "\n")
    return "error" not in record


# ---- what is measured


def device():
    query = ("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader")
    import torch

    found = {"torch": torch.__version__, "cuda": torch.cuda.is_available(), "cores": WORKERS}
    assert DEVICE == "cpu" or found["cuda"], "no GPU that torch can use"
    return found | ({"gpu": run(*query).strip()} if DEVICE != "cpu" else {})


def bench(what, *words):
    usual = ("--device", DEVICE, "--workers", WORKERS, "--backbone", BACKBONE, "--size", SIZE, "--json")
    result = json.loads(cxrscore("bench", what, *usual, *words))
    from cxrscore.benchmarks.result_tables import text_blocks
    from cxrscore.core.text_table import plain_text

    log(plain_text(text_blocks(result)))
    return result


def holds_on_any_gpu(result):
    """Its table is the CPU's, and no file is opened twice."""
    facts = result["score"]["facts"]
    assert facts["opens_of_a_file"]["cxrscore score"] == 1, facts
    parity = facts.get("against_cpu_fp32", {})
    assert parity.get("largest_difference", 0.0) <= 1e-2, parity
    assert parity.get("macro_auc_difference", 0.0) <= 5e-4, parity


def bench_training(batch_size):
    files = max(TRAIN_FILES, 2 * int(batch_size))
    words = ("--files", files, "--rounds", ROUNDS, "--compile", COMPILE, "--batch-size", batch_size)
    return bench("train", *words)


def best_batch():
    """Of the batch sizes measured so far: where a way trains fastest, images a second."""
    fastest = {}
    for line in (OUT / "results.jsonl").read_text().splitlines():
        step = json.loads(line)
        if step["step"].startswith("train-") and "result" in step:
            for race in step["result"]["train"]["races"]:
                for name, way in race["lines"].items():
                    found = (way["per_second"], step["step"].removeprefix("train-"))
                    key = f"{race['what'].split(':')[0]}: {name}"
                    fastest[key] = max(found, fastest.get(key, found))
    for key, (rate, batch_size) in fastest.items():
        log(f"{key}: {rate:.1f} images/s at batch {batch_size}")
    return {key: {"per_second": rate, "batch_size": int(size)} for key, (rate, size) in fastest.items()}


# ---- whole runs, stage by stage


def write_params(path):
    """The paper's preset, with weights that need no network."""
    from ruamel.yaml import YAML

    settings = YAML(typ="safe", pure=True).load(ROOT / "cxrscore" / "presets" / "paper.yaml")
    settings["prepare"] |= {"size": SIZE, "train_size": SIZE * 3 // 2}  # the share of the preset
    settings["train"].update(backbone=BACKBONE, init="none", epochs=EPOCHS, batch_size=BATCH_SIZE)
    path.write_text(json.dumps(settings, indent=1))  # JSON is YAML
    return path


def stage(name, folder, out, *words):
    labels, params = folder / "data" / "labels.csv", out.with_suffix(".yaml")
    return cxrscore(name, "--labels", labels, "--out", out, "--params", params, *words)


def make_data(name, images):
    """Phantoms, prepared and dealt into folds, in $WORK/name."""
    folder = WORK / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    code = (
        "import sys; from pathlib import Path; from cxrscore.phantom import make_phantoms; "
        "make_phantoms(Path(sys.argv[1]), images=int(sys.argv[2]), size=int(sys.argv[3]), seed=0, "
        "test_share=0.0, workers=int(sys.argv[4]))"
    )
    begun = time.perf_counter()
    run(sys.executable, "-c", code, folder / "data", images, SIZE, WORKERS)
    drawn = time.perf_counter()
    write_params(folder / "shared.yaml")
    stage("prepare", folder, folder / "shared", "--images", folder / "data" / "images", "--workers", WORKERS)
    prepared = time.perf_counter()
    stage("folds", folder, folder / "shared")
    return {"images": images, "draw_s": drawn - begun, "prepare_s": prepared - drawn}


def new_out(folder, name):
    """Outputs of their own over the folder's prepared images and folds."""
    out = folder / name
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    for shared in ("prepared", "folds.csv", "balance.json"):
        (out / shared).symlink_to(folder / "shared" / shared)
    write_params(out.with_suffix(".yaml"))
    return out


def ablate():
    """Heads on the same images, folds and seeds, compared over patients; what is done stays done."""
    folder = WORK / "cohort"
    words = ("--heads", HEADS, "--device", DEVICE, "--json")
    result = json.loads(stage("ablate", folder, folder / "shared", *words))
    log((folder / "shared" / "ablation" / "table.csv").read_text())
    return result


# ---- killed and resumed


def said_while_training(out, kill_after=None):
    """`train --fold 0` -> (seconds, line) of what it says; killed so many seconds after its first epoch."""
    folder = WORK / "few"
    command = [sys.executable, "-m", "cxrscore", "train", "--fold", "0", "--device", DEVICE]
    command += [
        "--state-every-s",
        STATE_S,
        "--labels",
        folder / "data" / "labels.csv",
        "--out",
        out,
        "--params",
        out.with_suffix(".yaml"),
    ]
    command = [str(word) for word in command]
    log(f"$ {' '.join(command)}")
    begun, said = time.perf_counter(), []
    process = subprocess.Popen(command, cwd=ROOT, env=ENV, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        said.append((time.perf_counter() - begun, line.strip()))
        log(line)
        if kill_after is not None and ends_of_epochs([(0.0, line)]).keys() == {1}:
            time.sleep(kill_after)
            process.send_signal(signal.SIGKILL)
    code = process.wait()
    assert code == (0 if kill_after is None else -signal.SIGKILL), f"exit code {code}"
    return said


def ends_of_epochs(said):
    """Epoch, counted from one -> when its line came."""
    found = [(re.search(r"epoch (\d+) of \d+: train loss", line), seconds) for seconds, line in said]
    return {int(end[1]): seconds for end, seconds in found if end}


def resume():
    """Left alone twice, which says what the GPU itself leaves to chance, and killed in its second epoch."""
    folder = WORK / "few"
    outs = {name: new_out(folder, name) for name in ("alone", "alone-again", "killed")}
    ends = ends_of_epochs(said_while_training(outs["alone"]))
    said_while_training(outs["alone-again"])
    epoch_s = ends[2] - ends[1]
    before = ends_of_epochs(said_while_training(outs["killed"], kill_after=epoch_s / 3))
    said = said_while_training(outs["killed"])
    after = ends_of_epochs(said)
    result = {
        "resuming": [line for _, line in said if "resuming after" in line],
        "epoch_s": epoch_s,
        "epochs_before_the_kill": list(before),
        "epochs_after_it": list(after),
        "killed_and_resumed": weights_apart(outs["alone"], outs["killed"]),
        "left_alone_twice": weights_apart(outs["alone"], outs["alone-again"]),
    }
    log(json.dumps(result, indent=1))
    return result


def weights_apart(out, other):
    """The largest difference of a weight, and its tensor."""
    from safetensors.torch import load_file

    one, two = (load_file(folder / "models" / "fold0.safetensors") for folder in (out, other))
    assert one.keys() == two.keys()
    apart = {name: float((one[name].double() - two[name].double()).abs().max()) for name in one}
    largest = max(apart, key=apart.get)
    return {"largest_difference": apart[largest], "of": largest, "scale": float(one[largest].abs().max())}


STEPS = {
    "device": device,
    # forwards before runs: `score --compile auto` recalls what compiling costs and saves here
    "decode": partial(bench, "decode", "--files", FILES, "--rounds", ROUNDS),
    "forward": partial(bench, "forward", "--rounds", ROUNDS),
    "heads": partial(bench, "heads", "--rounds", ROUNDS),
    "score": partial(bench, "score", "--files", SCORE_FILES, "--rounds", 2),
    **{f"train-{size}": partial(bench_training, size) for size in BATCH_SIZES},
    "best-batch": best_batch,
    **{f"memory-{size}": partial(bench, "step-memory", "--batch-size", size) for size in BATCH_SIZES[:3]},
    "cohort": partial(make_data, "cohort", IMAGES),
    "ablate": ablate,
    "few": partial(make_data, "few", FEW),
    "resume": resume,
}


def resumed(result):
    """From its state, and as near to a run left alone as two of these are to each other, or to 1e-3."""
    assert result["resuming"], result
    apart, chance = (
        result[name]["largest_difference"] for name in ("killed_and_resumed", "left_alone_twice")
    )
    assert apart <= max(1e-3, 10 * chance), result


CHECKS = {"score": holds_on_any_gpu, "resume": resumed}


def main():
    words = sys.argv[1:]
    OUT.mkdir(parents=True, exist_ok=True)
    WORK.mkdir(parents=True, exist_ok=True)
    failed = []
    if words and Path(words[0]).is_dir():
        wheels = sorted(Path(words.pop(0)).glob("*.whl"))
        install = partial(
            run, sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", *wheels
        )
        failed += [] if take("wheels", install) else ["wheels"]
    unknown = [word for word in words if word not in STEPS]
    if unknown:
        sys.exit(f"{', '.join(unknown)}: no folder of wheels, and no step; steps are {', '.join(STEPS)}.")
    failed += [name for name in words or STEPS if not take(name, STEPS[name])]
    log(f"failed: {', '.join(failed)}" if failed else f"passed; results are in {OUT}")
    sys.exit(bool(failed))


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
