import warnings
from contextvars import copy_context
from threading import Thread

import numpy as np
import pytest

from napari_kmeans import segment, segment_slices
from napari_kmeans.execution.notices import notice, notices_to

TWO_COLORS = np.repeat(np.uint8([[0, 200]]), 30, axis=0)


def test_warning_states_the_line_that_called_the_public_function():
    with pytest.warns(UserWarning, match="n_clusters=3 gave 2") as told:
        segment(TWO_COLORS, 3)
    with pytest.warns(UserWarning, match="in 2 of 2 slices") as told_of_slices:
        segment_slices(np.stack([TWO_COLORS, TWO_COLORS]), 3)
    assert [each.filename for each in (*told, *told_of_slices)] == [__file__] * 2


def test_listener_receives_notices_instead_of_warnings():
    told = []
    with warnings.catch_warnings(), notices_to(told.append):
        warnings.simplefilter("error")
        segment(TWO_COLORS, 3)
        with notices_to(len):
            notice("The outer listener does not receive this.", stacklevel=1)
        segment(TWO_COLORS, 4)
    assert [sentence.split(":")[0] for sentence in told] == [
        "n_clusters=3 gave 2 clusters",
        "n_clusters=4 gave 2 clusters",
    ]
    with pytest.warns(UserWarning, match="n_clusters=5"):
        segment(TWO_COLORS, 5)


def test_each_thread_has_its_own_listener():
    told = {"ours": [], "theirs": []}

    def listen():
        with notices_to(told["theirs"].append):
            notice("Theirs.", stacklevel=1)

    with notices_to(told["ours"].append):
        copied = copy_context()
        for target in (listen, lambda: copied.run(notice, "Ours.", stacklevel=1)):
            thread = Thread(target=target)
            thread.start()
            thread.join()
    assert told == {"ours": ["Ours."], "theirs": ["Theirs."]}
