"""A sentence says no more than the interval does."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxrscore.evaluation.verdict_sentences import sentence, shown
from cxrscore.statistics.estimates import Estimate
from cxrscore.statistics.verdicts import Seen, Verdict, verdicts

NEVER = re.compile(
    r"\b(equal|equivalent|no difference|not different|identical|as good as|proves?|significant)\b"
)


def said(value: float, low: float, high: float, *, among: int = 1, unit: str = "patients") -> str:
    one = Estimate(value, low, high)
    verdict, *_ = verdicts([one, *[Estimate(0.0, -1.0, 1.0)] * (among - 1)], patients=100)
    return sentence("Edema", one, verdict, unit=unit, family=among)


def test_an_interval_above_0_says_better_and_one_below_says_worse() -> None:
    assert said(0.02, 0.01, 0.03) == "Edema: B is better than A, by 0.0200 (interval +0.0100 to +0.0300)."
    assert said(-0.02, -0.03, -0.01) == "Edema: B is worse than A, by 0.0200 (interval -0.0300 to -0.0100)."


def test_an_interval_that_holds_0_says_neither_and_how_many_more_patients_at_least() -> None:
    assert said(0.02, -0.01, 0.05) == (
        "Edema: cannot tell whether B is better or worse than A; the interval (-0.0100 to +0.0500) holds 0. "
        "To tell a difference of 0.0200, at least about 360 more patients would be needed."
    )
    assert "more images would" in said(0.02, -0.01, 0.05, unit="images")


def test_an_interval_that_leaves_out_0_among_many_is_said_to_be_one_of_many() -> None:
    text = said(0.02, 0.001, 0.039, among=14)
    assert "cannot tell; the interval (+0.0010 to +0.0390) leaves out 0, but of 14 that are" in text
    assert "at least about" in text and "is better" not in text


def test_no_number_is_said_where_it_would_be_silly() -> None:
    assert said(0.0001, -0.05, 0.05).endswith(
        "To tell a difference of 0.0001, more than 100 times as many patients would be needed."
    )
    assert said(0.0, -0.05, 0.05).endswith(
        "The difference that was found is 0: how many patients would show one cannot be said."
    )


def test_what_has_no_interval_is_not_told_and_why() -> None:
    text = sentence("Hernia", Estimate(0.1), Verdict("no interval"), unit="patients", why="few show it")
    assert text == "Hernia: cannot tell; there is no interval (few show it)."


def test_figures_that_no_resample_tells_apart_are_the_same_and_nothing_more_is_said() -> None:
    assert said(0, 0, 0) == "Edema: the figures of A and B are the same in every resample."
    assert "cannot tell whether" in said(0, -1e-9, 1e-9)


@pytest.mark.parametrize(
    ("value", "seen", "words"),
    [
        (-0.02, "B", "B is lower, by 0.0200"),
        (-0.02, "A", "A is higher, by 0.0200"),
        (0.02, "B", "B is higher, by 0.0200"),
    ],
)
def test_a_side_that_seems_better_as_its_models_saw_the_patients_is_said_to_be_higher_or_lower(
    value: float, seen: Seen, words: str
) -> None:
    one = Estimate(value, value - 0.01, value + 0.01)
    text = sentence("Brier score", one, Verdict("cannot tell", seen=seen), unit="patients")
    assert f"Brier score: cannot tell; {words} (interval " in text


@given(st.floats(-1, 1))
def test_a_sentence_and_a_table_made_of_json_round_a_number_alike(value: float) -> None:
    assert shown(value) == shown(round(value, 5)) and shown(value, sign="+") == shown(
        round(value, 5), sign="+"
    )


@pytest.mark.parametrize("value", [-0.04, -0.001, 0.0, 0.003, 0.04])
@pytest.mark.parametrize("among", [1, 14])
def test_no_sentence_on_an_interval_with_0_claims_sameness_or_a_difference(value: float, among: int) -> None:
    text = said(value, value - 0.05, value + 0.05, among=among)
    assert not NEVER.search(text), text
    assert "is better" not in text.replace("whether B is better or worse", "")
    assert "is worse" not in text and text.startswith("Edema: cannot tell")
