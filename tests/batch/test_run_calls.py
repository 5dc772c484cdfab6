"""The record of a study that was continued states each call and the sum of their times."""

from __future__ import annotations

from napari_kmeans.batch.run_calls import join_calls, read_calls

VERSIONS = {"python": "3.13.1", "numpy": "2.1.0"}


def _call(minute: int, seconds: float, status: str = "complete", **entries: object) -> dict:
    started = f"2026-01-01T10:{minute:02}:00+00:00"
    return {**{"started": started, "seconds": seconds, "status": status}, **entries}


def _image(minute: int, second: int, seconds: float = 2.5) -> dict:
    return {"started": f"2026-01-01T10:{minute:02}:{second:02}+00:00", "seconds": seconds}


def _join(record: dict, last: dict, done: list[dict], *, has_earlier_fit: bool = False) -> dict:
    last = {"images": 1, "versions": VERSIONS, **last}
    return join_calls(read_calls(record), last, done, has_earlier_fit=has_earlier_fit)


def test_each_call_has_the_images_that_it_did():
    record = {"calls": [_call(0, 30.0, "interrupted"), _call(5, 20.0)], "versions": VERSIONS}
    found = _join(record, _call(9, 4.0), [_image(0, 10), _image(0, 28), _image(5, 3)])
    assert [call["images"] for call in found["calls"]] == [2, 1, 1]
    assert (found["started"], found["seconds"]) == (record["calls"][0]["started"], 54.0)


def test_a_call_that_was_killed_lasted_to_its_last_image():
    killed = _call(0, 0.2, "interrupted")
    found = _join({**killed, "versions": VERSIONS}, _call(9, 4.0), [_image(0, 10), _image(0, 40)])
    assert [call["seconds"] for call in found["calls"]] == [42.5, 4.0]


def test_calls_whose_images_were_done_again_are_left_out():
    record = {"calls": [_call(0, 30.0, "interrupted"), _call(5, 20.0)], "versions": VERSIONS}
    assert _join(record, _call(9, 4.0), [])["seconds"] == 4.0
    # The first call may have fitted the model.
    assert _join(record, _call(9, 4.0), [], has_earlier_fit=True)["seconds"] == 34.0
    # While images are missing, it is not known which calls did them.
    assert len(_join(record, _call(9, 4.0, "interrupted"), [])["calls"]) == 3


def test_other_versions_are_those_of_the_record_where_they_differ():
    record = {"calls": [_call(0, 30.0)], "versions": {**VERSIONS, "numpy": "2.0.0"}}
    found = _join(record, _call(5, 4.0), [_image(0, 10)])
    assert [call["other_versions"] for call in found["calls"]] == [{"numpy": "2.0.0"}, {}]
    again = _join({**found, "versions": VERSIONS}, _call(9, 4.0), [_image(0, 10), _image(5, 1)])
    assert [call["other_versions"] for call in again["calls"]] == [{"numpy": "2.0.0"}, {}, {}]


def test_images_that_are_older_than_all_calls_have_one_of_their_own():
    """An image that left a study and came back was done by a call that the record left out."""
    found = _join({"calls": [_call(5, 20.0)]}, _call(9, 4.0), [_image(1, 0), _image(1, 10)])
    assert [call["images"] for call in found["calls"]] == [2, 1]
    assert found["calls"][0]["seconds"] == 12.5
    assert found["started"] == _image(1, 0)["started"]


def test_a_damaged_record_has_no_calls():
    assert read_calls({"calls": [{"started": "soon", "seconds": 1}]}) == []
    assert read_calls({"started": None, "seconds": "long"}) == []
    assert read_calls({**_call(0, 1.0), "versions": [1]})[0]["versions"] == {}
