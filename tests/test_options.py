"""Options: every option is declared once, and each invalid value is refused with one sentence."""

import inspect

import numpy as np
import pytest
from napari.layers import Image

from napari_kmeans import segment, segment_layer, segment_slices, suggest_n_clusters, summarize
from napari_kmeans.checks import quote_value
from napari_kmeans.options import (
    FIT_OPTIONS,
    OPTIONS,
    SUMMARY_OPTIONS,
    Options,
    OptionValues,
    SummaryValues,
)


@pytest.mark.parametrize("function", [segment, segment_layer, segment_slices])
def test_every_option_is_an_argument_with_its_default(function):
    parameters = inspect.signature(function).parameters
    assert {name: parameters[name].default for name in OPTIONS} == {
        name: info.default for name, info in OPTIONS.items()
    }


def test_every_option_has_a_label_and_a_tooltip():
    for info in OPTIONS.values():
        assert info.label[0].isupper()
        assert len(info.tooltip) > 20


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("n_clusters", 0, ValueError),
        ("n_clusters", 65_536, ValueError),
        ("n_clusters", 2.5, TypeError),
        ("n_clusters", True, TypeError),
        ("n_clusters", "8", TypeError),
        ("color_space", "hsl", ValueError),
        ("method", None, ValueError),
        ("coreset_size", 0, ValueError),
        ("coreset_size", "automatic", TypeError),
        ("coreset_size", 7, ValueError),
        ("init", "kmeans", ValueError),
        ("init", [[1, 2, 3]], ValueError),
        ("init", [1.0] * 8, ValueError),
        ("init", [[float("nan")]] * 8, ValueError),
        ("init", [["1", "2", "3"]] * 8, ValueError),
        ("init", [[1e101] * 3] * 8, ValueError),
        ("init", [[1j] * 3] * 8, ValueError),
        ("init", [[1, 2], [3]], ValueError),
        ("n_init", 0, ValueError),
        ("n_init", None, TypeError),
        ("max_iter", 0, ValueError),
        ("tol", -1e-9, ValueError),
        ("tol", float("nan"), ValueError),
        ("tol", "small", TypeError),
        ("random_state", -1, ValueError),
        ("random_state", 2**32, ValueError),
        ("random_state", 1.5, TypeError),
    ],
)
def test_message_about_an_invalid_value_is_one_sentence_with_the_value(name, value, error):
    with pytest.raises(error) as caught:
        Options(**{name: value})
    message = str(caught.value)
    assert message.startswith(name)
    assert message.count(". ") == 0
    assert message.endswith(".")
    quoted = "1 row" if value == [[1, 2, 3]] else repr(value).strip("[]").split(",")[0]
    assert quoted in message


def test_automatic_coreset_size_grows_with_n_clusters():
    assert Options(n_clusters=2).resolved_coreset_size == 10_000
    assert Options(n_clusters=100).resolved_coreset_size == 50_000
    assert Options(n_clusters=100, coreset_size=100).resolved_coreset_size == 100


def test_array_as_init_has_one_run():
    assert Options(n_clusters=2, n_init=7).resolved_n_init == 7
    assert Options(n_clusters=2, n_init=7, init=np.zeros((2, 3))).resolved_n_init == 1


def test_options_copy_the_array_of_the_caller():
    colors = np.zeros((2, 3))
    options = Options(n_clusters=2, init=colors)
    colors[:] = 1
    assert not options.init.any()
    assert options.to_dict()["init"] == [[0, 0, 0], [0, 0, 0]]
    assert Options(**options.to_dict()).to_dict() == options.to_dict()


@pytest.mark.parametrize("name", [name for name in OPTIONS if name != "init"])
def test_array_for_an_option_is_refused_and_not_printed_in_full(name):
    with pytest.raises((TypeError, ValueError), match=f"^{name} must .* got ndarray of shape"):
        Options(**{name: np.arange(2000).reshape(2, 1000)})


def test_array_as_init_is_not_printed_in_full():
    with pytest.raises(ValueError, match=r"got ndarray of shape \(8, 3\) and dtype float64"):
        Options(init=np.full((8, 3), np.nan))


def test_quoted_value_is_one_short_line():
    assert quote_value(3) == "3"
    assert quote_value("two\nlines") == r"'two\nlines'"
    assert quote_value(np.float32(0.5)) == repr(np.float32(0.5))
    assert quote_value(np.eye(3)) == "ndarray of shape (3, 3) and dtype float64"
    assert quote_value([np.eye(2)]) == "[array([[1., 0.], [0., 1.]])]"
    assert quote_value(10**5000) == "a whole number of 16610 bits"
    assert len(quote_value(list(range(1000)))) == 80


def test_declared_keywords_are_the_options():
    assert list(OptionValues.__annotations__) == sorted(
        OptionValues.__annotations__, key=[*SUMMARY_OPTIONS, *OPTIONS].index
    )
    assert set(OptionValues.__annotations__) == set(FIT_OPTIONS)
    assert set(SummaryValues.__annotations__) == set(SUMMARY_OPTIONS)


@pytest.mark.parametrize("function", [summarize, suggest_n_clusters])
def test_functions_of_a_summary_list_its_options(function):
    parameters = inspect.signature(function).parameters
    assert {name: parameters[name].default for name in SUMMARY_OPTIONS} == {
        name: OPTIONS[name].default for name in SUMMARY_OPTIONS
    }
    with pytest.raises(TypeError, match=r"options must be among color_space, .* got 'balance'"):
        function(np.zeros((4, 4)), balance=0.5)


@pytest.mark.parametrize("function", [segment_slices, segment_layer])
def test_unknown_option_is_refused(function):
    image = np.zeros((2, 4, 4))
    given = Image(image) if function is segment_layer else image
    with pytest.raises(
        TypeError, match=r"options must be among .* got 'colour_space': leave it out"
    ):
        function(given, 2, colour_space="lab")


@pytest.mark.parametrize("function", [segment_layer, segment_slices, summarize])
def test_signature_shows_the_types_of_options_as_text(function):
    assert "color_space: 'str' = 'rgb'" in str(inspect.signature(function))
