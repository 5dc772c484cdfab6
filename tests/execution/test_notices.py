import warnings
from contextvars import copy_context
from threading import Thread

import numpy as np
import pytest

from napari_kmeans import segment, segment_slices
from napari_kmeans.execution.notices import notice, notices_about, notices_also_to, notices_to

TWO_COLORS = np.repeat(np.uint8([[0, 200]]), 30, axis=0)


def test_warning_states_the_line_that_called_the_public_function():
    with pytest.warns(UserWarning, match="n_clusters=3 gave 2") as warned:
        segment(TWO_COLORS, 3)
    with pytest.warns(UserWarning, match="in 2 of 2 slices") as warned_of_slices:
        segment_slices(np.stack([TWO_COLORS, TWO_COLORS]), 3)
    assert [each.filename for each in (*warned, *warned_of_slices)] == [__file__] * 2


def test_listener_receives_notices_instead_of_warnings():
    notices = []
    with warnings.catch_warnings(), notices_to(notices.append):
        warnings.simplefilter("error")
        segment(TWO_COLORS, 3)
        with notices_to(len):
            notice("The outer listener does not receive this.", stacklevel=1)
        segment(TWO_COLORS, 4)
    assert [sentence.split(":")[0] for sentence in notices] == [
        "n_clusters=3 gave 2 clusters",
        "n_clusters=4 gave 2 clusters",
    ]
    with pytest.warns(UserWarning, match="n_clusters=5"):
        segment(TWO_COLORS, 5)


def test_each_thread_has_its_own_listener():
    notices = {"main": [], "other": []}

    def listen():
        with notices_to(notices["other"].append):
            notice("Other.", stacklevel=1)

    with notices_to(notices["main"].append):
        copied = copy_context()
        for target in (listen, lambda: copied.run(notice, "Main.", stacklevel=1)):
            thread = Thread(target=target)
            thread.start()
            thread.join()
    assert notices == {"main": ["Main."], "other": ["Other."]}


def test_notices_go_to_a_second_listener_and_on():
    first: list[str] = []
    second: list[str] = []
    with notices_to(first.append), notices_also_to(second.append):
        notice("seen twice", stacklevel=1)
    assert first == second == ["seen twice"]
    with pytest.warns(UserWarning, match="^kept$"), notices_also_to(second.append):
        notice("kept", stacklevel=1)
    assert second == ["seen twice", "kept"]


def test_notices_begin_with_the_name_of_their_image():
    found: list[str] = []
    with notices_to(found.append), notices_about("a.tif"):
        notice("it is dark", stacklevel=1)
    with pytest.warns(UserWarning, match="^b.tif: it is dark$"), notices_about("b.tif"):
        notice("it is dark", stacklevel=1)
    assert found == ["a.tif: it is dark"]
