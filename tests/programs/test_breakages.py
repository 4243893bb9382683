"""What breakages.py breaks is still there; that tests notice a break is shown by running it."""

import pytest
from breakages import BREAKAGES, ROOT, Breakage


@pytest.mark.parametrize("breakage", BREAKAGES, ids=lambda breakage: breakage.name)
def test_the_line_stands_once_and_the_tests_exist(breakage: Breakage) -> None:
    text = (ROOT / "cxrscore" / breakage.file).read_text(encoding="utf-8")
    assert text.count(breakage.right) == 1
    assert breakage.wrong != breakage.right
    assert all((ROOT / "tests" / name).is_file() for name in breakage.tests.split())
