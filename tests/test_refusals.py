"""Every refusal says where and what would be right.

Those in the source are held here; those that tests meet, with their values, in conftest.
"""

import pytest
from conftest import REFUSED
from refusals import PACKAGE, PASSED_ON, PLACELESS, lacks, refusals

from cxrscore.core.errors import UserError

REFUSALS = list(refusals())


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.at)
def test_a_refusal_in_the_source_says_where_and_what_would_be_right(refusal) -> None:
    if refusal.function not in PASSED_ON:
        excused = ["where"] if refusal.function in PLACELESS else []
        assert [one for one in lacks(refusal.text) if one not in excused] == [], refusal.text


def test_a_function_is_excused_only_where_its_words_need_it() -> None:
    needed = {refusal.function: "where" for refusal in REFUSALS if "where" in lacks(refusal.text)}
    assert PLACELESS.keys() <= needed.keys()
    assert PASSED_ON.keys() <= {refusal.function for refusal in REFUSALS if lacks(refusal.text)}


@pytest.mark.parametrize(
    "message",
    [
        "labels.csv:3: labels are 0, 1, blank or -1, not 'x'.",
        "no/such: no such folder; name the one that holds the images.",
        "sub: exists; --overwrite replaces it, or choose another name.",
        "train.lr: too high; if in doubt, use 1e-4.",
        "$CXRSCORE_STATE: not a folder. Name another.",
        "--dtype int8: one of auto, float32.",
        "data.dvc: not here yet; `dvc pull data.dvc` brings it.",
        "git: not found; install it.",
        "a.yaml:1: prepare: unknown key; did you mean 'prepare'?\na.yaml:2: folds.k: at least 2.",
    ],
)
def test_a_message_with_a_place_and_a_remedy_passes(message: str) -> None:
    assert lacks(message) == []


@pytest.mark.parametrize(
    ("message", "missing"),
    [
        ("labels.csv: no such file.", ["remedy"]),
        ("labels.csv: no such file; it is not here.", ["remedy"]),
        ("labels.csv: use of a bad name.", ["remedy"]),
        ("labels.csv: damaged; the file has names.", ["remedy"]),
        ("--resume: another run.", ["remedy"]),
        ("train.lr: `dvc repro` failed.", ["remedy"]),
        ("a file is damaged; fetch it again.", ["where"]),
        ("it failed; run `dvc repro`.", ["where"]),
        ("something is wrong.", ["where", "remedy"]),
        ("", ["where", "remedy"]),
        (
            "a.yaml:1: prepare: unknown key; did you mean 'prepare'?\na.yaml:2: folds.k: too small.",
            ["remedy"],
        ),
    ],
)
def test_a_message_without_a_place_or_a_remedy_is_caught(message: str, missing: list[str]) -> None:
    assert lacks(message) == missing


def raised_in(path: str, message: str) -> list[str]:
    """What the watch says of a refusal that code of this path raises."""
    code = compile("raise UserError(message)", path, "exec")
    with pytest.raises(UserError):
        exec(code, {"UserError": UserError, "message": message})
    found = [*REFUSED]
    REFUSED.clear()
    return found


def test_a_refusal_of_the_package_without_a_remedy_fails_the_test_that_meets_it() -> None:
    inside = str(PACKAGE / "images" / "inputs" / "odd.py")
    assert raised_in(inside, "a.csv: odd.") == ["images/inputs/odd.py:1: no remedy: a.csv: odd."]
    assert raised_in(inside, "a.csv: odd; correct it.") == []


def test_a_refusal_that_a_test_makes_of_its_own_is_not_held() -> None:
    assert raised_in(__file__, "odd") == []
    assert raised_in("<string>", "odd") == []
