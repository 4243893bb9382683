"""Folders of chest radiographs -> competition-format probability tables, every step versioned with DVC.

The map. A module imports only from rows below its own, never sideways; tests/test_architecture.py holds it.

    __main__                                                     the console script
    cli                                                          the door: one command, one call
    params                                                       params.yaml -> frozen, checked settings
    prepare folds train evaluate report | score phantom project  the stages | the other stories
    checkpoint batches scoring/                                  a model in a file; rows -> device; the scorer's engine
    model store labels submission figures                        pixels -> logits; prepared images; label and score tables
    heads/ images loss augment predict metrics datasets/         pure parts
    files                                                        whole-or-nothing writes, hashes, strict CSV
    errors                                                       what a person can mend

Data flow forward only:

    data/labels.csv -labels-> LabelTable --------folds--------> out/folds.csv ----.
    data/images ----images-> uint8 --prepare-> out/prepared ---batches-> (B, 1, S, S) uint8 on the device
       -augment-> -model-> logits (B, L) -loss-> ... -> out/models/fold{k}.safetensors + out/oof/fold{k}.csv
    out/oof/*.csv + labels -evaluate-> out/metrics.json + out/plots/ -report-> out/report.html
    folder -scoring/-> (B, 1, S, S) uint8 -predict (folds x flips)-> (B, L) float32 -submission-> sub.csv

Axes are letters: B batch, C channels, H W pixels, S prepared side, L findings, F folds, n rows.
This module imports nothing, so that `cxrscore --help` stays light.
"""

__version__ = "0.1.0"
