"""Folders of chest radiographs -> competition-format probability tables, every step versioned with DVC.

The map. A module imports only from rows below its own, never sideways, and never in a circle;
tests/test_architecture.py holds it. Stages and stories are files: command = module = test. Wings are folders.

    __main__                                           the console script
    api                                                what the commands do, as Python functions
    python_api/                                        its functions: arguments checked; records, frames
    cli/                                               the commands: each is one call
    compare                                            two runs, or two score tables
    project/ test ablate bench                         settings, init; held-out test; heads; timings
    ablation/ benchmarks/                              the trainings compared; what is timed against what
    prepare folds train evaluate decide report         the stages of dvc.yaml
        score check verify explain phantom reseal convert_weights   the other stories
    training/ scoring/ phantoms/                       epochs; the scorer's engine; synthetic films
    model/ images/                                     pixels -> logits -> probabilities; files -> pixels
    evaluation/                                        scores and labels joined; figures and pictures of them
    decisions/                                         calibrated scores, thresholds, abstention; their file
    statistics/ tables/                                figures and intervals; labels, folds, scores; datasets
    core/                                              errors, files, locks, signals, the device, paths

Data flow forward only:

    data/labels.csv -labels-> LabelTable --------folds--------> out/folds.csv ----.
    data/images ----images-> uint8 --prepare-> out/prepared ---batches-> (B, 1, S, S) uint8 on the device
       -augment-> -model-> logits (B, L) -loss-> ... -> out/models/fold{k}.safetensors + out/oof/fold{k}.csv
    out/oof/*.csv + labels -evaluate-> out/metrics.json + out/plots/ -report-> out/report.html
    data/test + its labels -test-> out/test/scores.csv + out/test_metrics.json -report-> out/report.html
    out/oof/*.views.csv + labels + out/test -decide-> out/decisions.json -> score --calibrated, --binary
    folder -images/inputs/-> files -images/decoding/-> (B, 1, S, S) uint8
       -predict (folds x views)-> (F, B, L) float32 -scoring/-> journal -> sub.csv

Axes are letters: B batch, C channels, H W pixels, S prepared side, L findings, F folds, n rows.
This module imports nothing, so that `cxrscore --help` stays light.
"""

__version__ = "0.1.0"
