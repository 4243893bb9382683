"""Folders of chest radiographs -> competition-format probability tables, every step versioned with DVC.

The map. A module imports only from rows below its own, never sideways; tests/test_architecture.py holds it.

    __main__                                                             the console script
    cli/                                                                 the door: one command, one call
    terminal project                                                     progress; projects and their data
    preview params_file dvc_project project_data                         what would be refused; params.yaml
    ablate params                                                        label heads, compared; settings
    bench convert_weights                                                this machine; others' weights
    prepare folds train evaluate report | score check verify reseal phantom   the stages | other stories
    ensemble training/ scoring/                                          folds; epochs; scorer's engine
    checkpoint tensor_files groups batches decoding/                     files of tensors; files -> pixels
    model store labels split submission inputs/                          pixels -> logits; tables; files
    backbone weights                                                     timm by name; where it starts
    heads/ images loss augment predict figures datasets/ stratify fuse fitted_weights   pure parts
    scenes cooccurrence processes metrics curves machine heap layout progress closure formats/  statistics
    learned bootstrap variants text_table label_table                    what heads learned; comparisons
    sealed lock signals tables                                           tensors and facts, sealed; CSV
    files plain_yaml caches                                              whole writes; settings; the cache
    frames resources names                                               polars; cores; which file is meant
    errors                                                               what a person can mend

Data flow forward only:

    data/labels.csv -labels-> LabelTable --------folds--------> out/folds.csv ----.
    data/images ----images-> uint8 --prepare-> out/prepared ---batches-> (B, 1, S, S) uint8 on the device
       -augment-> -model-> logits (B, L) -loss-> ... -> out/models/fold{k}.safetensors + out/oof/fold{k}.csv
    out/oof/*.csv + labels -evaluate-> out/metrics.json + out/plots/ -report-> out/report.html
    folder -inputs/-> files -decoding/-> (B, 1, S, S) uint8 -predict (folds x views)-> (F, B, L) float32
       -scoring/-> journal -> sub.csv

Axes are letters: B batch, C channels, H W pixels, S prepared side, L findings, F folds, n rows.
This module imports nothing, so that `cxrscore --help` stays light.
"""

__version__ = "0.1.0"
