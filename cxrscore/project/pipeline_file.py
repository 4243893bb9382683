"""dvc.yaml as text: the pipeline of a new project, with the stage `test` where there is a held-out test.

In    the text of a dvc.yaml.
Out   the same with or without that stage, everything else byte for byte.
"""

import re
from pathlib import Path

from cxrscore.core.errors import UserError
from cxrscore.core.import_closure import closure

PIPELINE = Path(__file__).parents[1] / "presets" / "pipeline.yaml"
STAGE = re.compile(r"^  test:\n(?:    .*\n)+", re.MULTILINE)
CODE_KEY = "      - out/code/test.sha256\n"
SHOWN = "      - out/test_metrics.json\n"  # by the report, which depends on it
BEFORE = "      - out/summary\n"
MEASURED = {  # by `decide`, which depends on it: a dependency -> the one behind which it stands
    "      - data/test_labels.csv\n": "      - data/labels.csv\n",
    "      - out/test\n": "      - out/oof\n",
}


def pipeline_text() -> str:
    return PIPELINE.read_text(encoding="utf-8")


def with_test(pipeline: str, *, wanted: bool) -> str:
    """Raises UserError where a stage `report`, before which `test` goes, is not as `init` writes it."""
    if not wanted:
        without = STAGE.sub("", pipeline).replace(SHOWN, "")
        for dependency in MEASURED:
            without = without.replace(dependency, "")
        return without
    if STAGE.search(pipeline):
        return pipeline
    head, report, tail = pipeline.partition("  report:\n")
    if BEFORE not in tail:
        raise UserError("dvc.yaml: no stage report that depends on out/summary; restore the file of `init`.")
    stages, decide, deciding = head.partition("  decide:\n")
    if decide:  # a project of an older version has no such stage
        for dependency, before in MEASURED.items():
            deciding = deciding.replace(before, before + dependency, 1)
    return stages + _stage(pipeline) + decide + deciding + report + tail.replace(BEFORE, BEFORE + SHOWN, 1)


def _stage(pipeline: str) -> str:
    """Keyed on a fingerprint of its code or, where no stage `code` makes one, on its modules."""
    stage = "".join(match[0] for match in STAGE.finditer(pipeline_text()))
    if "\n  code:\n" in pipeline:
        return stage
    modules = "".join(f"      - {module}\n" for module in sorted(closure("cxrscore.test")))
    return stage.replace(CODE_KEY, "").replace("    deps:\n", f"    deps:\n{modules}", 1)
