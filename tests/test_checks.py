"""The kinds of values: checked where they are given, and parsed from text."""

import numpy as np
import pandas as pd
import pytest

from napari_kmeans.checks import Choice, RealNumber, WholeNumber, quote_value

SIZE = WholeNumber(1, 9, ("auto", None))


@pytest.mark.parametrize("value", [1, 9, np.uint8(4), "auto", None])
def test_a_whole_number_or_another_value_is_accepted(value):
    assert SIZE.check("size", value) == value
    assert type(SIZE.check("size", value)) in (int, str, type(None))


@pytest.mark.parametrize(
    ("value", "error"),
    [(0, ValueError), (10, ValueError), (1.0, TypeError), (True, TypeError), ("no", TypeError)],
)
def test_any_other_value_is_named_in_the_message(value, error):
    wanted = "size must be 'auto' or None or a whole number from 1 to 9, got "
    with pytest.raises(error) as caught:
        SIZE.check("size", value)
    assert str(caught.value) == f"{wanted}{value!r}: choose one in this range."


def test_an_array_of_words_is_not_a_word():
    with pytest.raises(TypeError, match="got ndarray of shape"):
        SIZE.check("size", np.array(["auto", "auto"]))


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), float("inf")])
def test_a_real_number_out_of_bounds_is_refused(value):
    with pytest.raises(ValueError, match="share must be a number from 0 to 1, got"):
        RealNumber(0, 1).check("share", value)


def test_text_is_parsed():
    assert [SIZE.parse(text) for text in ("auto", "none", "12")] == ["auto", None, 12]
    assert RealNumber(0, 1).parse("1e-3") == 0.001
    with pytest.raises(ValueError, match="invalid literal"):
        SIZE.parse("2.5")


def test_a_choice_lists_its_words():
    with pytest.raises(ValueError, match="method must be 'a' or 'b', got 'c'"):
        Choice(("a", "b")).check("method", "c")


def test_words_of_a_number_are_parsed_in_any_case():
    assert [SIZE.parse(text) for text in ("AUTO", "None")] == ["auto", None]


def test_a_table_without_a_dtype_is_quoted():
    assert quote_value(pd.DataFrame({"a": [1]})).startswith("a")
