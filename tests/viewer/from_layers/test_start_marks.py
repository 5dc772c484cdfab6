"""Starting colors from points and strokes, and the fields of the dock that show them."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from napari.layers import Image, Labels, Points, Shapes
from napari.utils.notifications import notification_manager

from napari_kmeans import KMeansModel, segment, segment_layer
from napari_kmeans.options import Options
from napari_kmeans.viewer.background.task import Task
from napari_kmeans.viewer.from_layers.source import Source
from napari_kmeans.viewer.from_layers.start_marks import StartMarks, can_hold_marks, count_marks
from napari_kmeans.viewer.provenance import METADATA_KEY
from napari_kmeans.viewer.to_layers.as_python import script_of
from napari_kmeans.viewer.to_layers.layers import labels_layer
from napari_kmeans.viewer.to_layers.result import Result

PLACE = {"scale": (2, 0.5), "rotate": 30, "translate": (10, -3), "shear": [0.2]}
ELSEWHERE = {"scale": (0.25, 3), "rotate": -20, "translate": (-4, 8)}
CORNERS = [(2, 3), (1, 17), (15, 4), (18, 12)]


@pytest.fixture
def noise():
    """An image without clusters: the result of K-means depends on its start."""
    return np.random.default_rng(1).integers(0, 256, (30, 40, 3)).astype(np.uint8)


def options_of(layer):
    return layer.metadata[METADATA_KEY]["options"]


def points_over(image, pixels, **place):
    """Return points that lie over the centers of these pixels in the world."""
    empty = Points(np.empty((0, len(pixels[0]))), **place)
    world = [image.data_to_world(pixel) for pixel in pixels]
    return Points(np.array([empty.world_to_data(at) for at in world]), name="seeds", **place)


def strokes_on(image, boxes):
    """Return the labels 3, 7, … in boxes of an array of the image's shape."""
    labels = np.zeros(image.shape[:2], np.uint16)
    for number, box in enumerate(boxes):
        labels[box] = 3 + 4 * number
    return labels


def number_as_started(segmentation):
    """Return the labels of a segmentation with the number, from 1, of the start of each."""
    numbers = np.append(0, segmentation.starts + 1)
    return numbers[np.asarray(segmentation.labels)]


# --------------------------------------------------------------- marked pixels


@pytest.mark.parametrize("method", ["full", "coreset"])
def test_points_start_from_the_colors_under_them(noise, method):
    layer = Image(noise, name="noise", rgb=True)
    pixels = [(0, 0), (29, 39), (7, 31), (12, 2), (3, 3)]
    labels, recolored = segment_layer(layer, init=Points(pixels), method=method)
    colors = np.array([noise[pixel] for pixel in pixels])
    expected = segment(noise, 5, rgb=True, init=colors, method=method)
    np.testing.assert_array_equal(labels.data, number_as_started(expected))
    np.testing.assert_array_equal(recolored.data, expected.recolored)
    assert options_of(labels)["init"] == colors.tolist()
    assert options_of(labels)["n_clusters"] == 5
    assert not np.array_equal(labels.data, segment(noise, 5, rgb=True, method=method).labels)


def test_classes_have_the_order_the_names_and_the_colors_of_points(quadrants, quadrant_labels):
    layer = Image(quadrants, rgb=True)
    for order in ([0, 1, 2, 3], [3, 1, 0, 2]):
        labels, recolored = segment_layer(layer, init=Points([CORNERS[at] for at in order]))
        numbers = np.argsort(order) + 1
        np.testing.assert_array_equal(labels.data, numbers[quadrant_labels - 1])
        for row, at in enumerate(order):
            means = quadrants[quadrant_labels == at + 1].mean(axis=0)
            in_table = labels.features.loc[row, ["mean red", "mean green", "mean blue"]]
            np.testing.assert_allclose(in_table.to_numpy(float), means)
            np.testing.assert_array_equal(recolored.data[CORNERS[at]], np.rint(means))
    assert "name" not in labels.features
    points = Points(
        [CORNERS[3], CORNERS[0], (9, 9), CORNERS[1]],
        features={"label": ["paper", None, "hidden", "ink\nred"]},
        face_color=["yellow", "blue", "blue", "red"],
        shown=[True, True, False, True],
    )
    labels, _ = segment_layer(layer, init=points)
    assert labels.features["name"].tolist() == ["paper", "", "ink red"]
    assert labels.features["color"].tolist() == ["#ffff00", "#0000ff", "#ff0000"]
    np.testing.assert_allclose(labels.colormap.color_dict[1], (1, 1, 0, 1))
    assert labels.data[CORNERS[3]] == 1
    model = KMeansModel.from_dict(labels.metadata[METADATA_KEY]["model"])
    np.testing.assert_array_equal(model.predict(quadrants), labels.data)
    # Points of one color have not been colored by the user.
    points.face_color = "red"
    labels, _ = segment_layer(layer, init=points)
    assert labels.features["color"][0] != "#ff0000"


@pytest.mark.parametrize("has_index", [False, True])
def test_classes_have_the_numbers_the_names_and_the_colors_of_strokes(
    quadrants, quadrant_labels, has_index
):
    drawn = np.zeros((20, 21), np.uint16)
    for number, at in zip((9, 2, 300, 5), CORNERS, strict=True):
        drawn[at] = number
    names = {2: "red", 5: "white", 9: "night"}
    features = {"index": [9, 2, 5], "name": ["night", "red", "white"]}
    if not has_index:
        features = {"name": [names.get(row, np.nan) for row in range(10)]}
    strokes = Labels(drawn, features=features, colormap={2: "red", 9: "black", None: "gray"})
    labels, _ = segment_layer(Image(quadrants, rgb=True), init=strokes)
    numbers = np.array([9, 2, 300, 5])
    np.testing.assert_array_equal(labels.data, numbers[quadrant_labels - 1])
    assert labels.features["index"].tolist() == [2, 5, 9, 300]
    assert labels.features["name"].tolist() == ["red", "white", "night", ""]
    assert labels.features["color"].tolist()[::2] == ["#ff0000", "#000000"]
    mean = quadrants[10:, 10:].mean(axis=(0, 1))
    np.testing.assert_allclose(labels.colormap.color_dict[5][:3], np.rint(mean) / 255, atol=1e-6)


def test_labels_that_no_class_can_have_are_refused(quadrants):
    drawn = np.zeros((20, 21), int)
    drawn[0, 0], drawn[15, 15] = 1, 70_000
    with pytest.raises(ValueError, match=r"init must have labels from 1 to 65535, got 70000 in 's"):
        segment_layer(Image(quadrants, rgb=True), init=Labels(drawn, name="strokes"))


def test_marks_inside_a_class_follow_the_labels_of_the_mask(quadrants, quadrant_labels):
    image = Image(quadrants, rgb=True)
    mask = Labels(quadrant_labels)
    points = Points([CORNERS[3], CORNERS[0]], features={"name": ["b", "a"]})
    labels, _ = segment_layer(image, init=points, mask=mask, mask_classes=[1, 4])
    np.testing.assert_array_equal(labels.data, np.array([0, 6, 0, 0, 5])[quadrant_labels])
    assert labels.features["name"].tolist() == ["b", "a"]


@pytest.mark.parametrize("stack", ["whole", "each", 1])
@pytest.mark.parametrize("lazy", [False, True])
def test_kept_colors_assign_each_pixel_to_the_nearest_mark(stack, lazy):
    volume = np.random.default_rng(0).integers(0, 60000, (3, 9, 11)).astype(np.uint16)
    pixels = [(2, 2, 1), (0, 8, 10), (1, 1, 1)]
    layer = Image(da.from_array(volume, chunks=(1, 5, 11)) if lazy else volume)
    labels, _ = segment_layer(layer, init=Points(pixels), keep_init=True, stack=stack)
    marks = np.array([int(volume[pixel]) for pixel in pixels])
    expected = np.abs(volume[..., None].astype(int) - marks).argmin(axis=-1) + 1
    if stack == 1:
        expected[[0, 2]] = 0
    np.testing.assert_array_equal(np.asarray(labels.data), expected)
    moved, _ = segment_layer(layer, init=Points(pixels), stack=stack)
    assert not np.array_equal(np.asarray(moved.data), expected)


@pytest.mark.parametrize("nudge", [-0.49, 0.49])
def test_points_are_mapped_through_the_world(noise, nudge):
    layer = Image(noise, rgb=True, **PLACE)
    pixels = np.array([(5, 31), (28, 0), (13, 7)])
    points = points_over(layer, pixels + nudge, **ELSEWHERE)
    labels, _ = segment_layer(layer, init=points)
    assert options_of(labels)["init"] == noise[tuple(pixels.T)].tolist()


def test_hidden_points_are_ignored(noise):
    points = Points([(1, 1), (2, 2), (99, 99)], shown=[True, True, False])
    labels, _ = segment_layer(Image(noise, rgb=True), init=points)
    assert options_of(labels)["init"] == [noise[1, 1].tolist(), noise[2, 2].tolist()]


def test_stroke_starts_from_its_mean_color(noise):
    boxes = [np.s_[3:9, 4:30], np.s_[20:22, :5], np.s_[29:, 39:]]
    labels, _ = segment_layer(Image(noise, rgb=True), init=Labels(strokes_on(noise, boxes)))
    expected = [noise[box].reshape(-1, 3).mean(axis=0) for box in boxes]
    np.testing.assert_allclose(options_of(labels)["init"], expected, rtol=1e-12)


def test_strokes_are_mapped_through_the_world(noise):
    """The Labels layer is rotated, finer than the image, and larger than the image."""
    layer = Image(noise, rgb=True, scale=(3, 3), translate=(5, 7))
    canvas = np.zeros((200, 200), np.uint8)
    canvas[20:60, 30:31], canvas[90:95, 0:190] = 1, 2
    strokes = Labels(canvas, rotate=20, translate=(0, 6), scale=(0.7, 0.7))
    labels, _ = segment_layer(layer, init=strokes)
    means = []
    for label in (1, 2):
        under = []
        for at in np.argwhere(canvas == label):
            y, x = np.floor(np.array(layer.world_to_data(strokes.data_to_world(at))) + 0.5)
            if 0 <= y < 30 and 0 <= x < 40:
                under.append(noise[int(y), int(x)].astype(float))
        means.append(np.mean(under, axis=0))
    assert len(under) < np.sum(canvas == 2)
    np.testing.assert_allclose(options_of(labels)["init"], means, rtol=1e-12)


def test_pieces_of_marked_pixels_give_the_same_colors(noise, monkeypatch):
    strokes = strokes_on(noise, [np.s_[:20], np.s_[20:]])
    at_once, _ = segment_layer(Image(noise, rgb=True), init=Labels(strokes))
    monkeypatch.setattr("napari_kmeans.viewer.from_layers.start_marks.PIECE_PIXELS", 7)
    pieces, _ = segment_layer(Image(noise, rgb=True), init=Labels(strokes))
    np.testing.assert_allclose(options_of(pieces)["init"], options_of(at_once)["init"], rtol=1e-12)


def test_transparent_pixels_and_nan_are_ignored():
    values = np.random.default_rng(0).random((6, 8, 4), dtype=np.float32) * 0.5 + 0.25
    values[0, :4, 3], values[1, 2, 0] = 0, np.nan
    counted = values[..., 3] > 0
    counted[1, 2] = False
    strokes = strokes_on(values, [np.s_[:3], np.s_[3:]])
    labels, _ = segment_layer(Image(values, rgb=True), init=Labels(strokes))
    expected = [values[:3][counted[:3]][:, :3].mean(axis=0), values[3:, :, :3].mean(axis=(0, 1))]
    np.testing.assert_allclose(options_of(labels)["init"], expected, rtol=1e-5)


# ------------------------------------------------------ channels, levels, lazy


def test_points_over_several_layers_as_channels():
    rng = np.random.default_rng(0)
    pixels = [rng.integers(0, 5000, (12, 15)).astype("u2"), rng.integers(0, 90, (12, 15))]
    layers = [Image(each, scale=(2, 2)) for each in pixels]
    labels, _ = segment_layer(layers, init=Points([(4, 6), (20, 10)]), normalize="zscore")
    expected = [[each[2, 3] for each in pixels], [each[10, 5] for each in pixels]]
    assert options_of(labels)["init"] == np.array(expected).tolist()


@pytest.mark.parametrize("level", [0, 1, None])
def test_colors_are_read_at_the_finest_level(noise, level):
    coarse = noise[::2, ::2] // 2
    layer = Image([noise, coarse], multiscale=True, rgb=True, **PLACE)
    points = points_over(layer, [(7, 31), (12, 3)], **ELSEWHERE)
    labels, _ = segment_layer(layer, init=points, level=level)
    assert options_of(labels)["init"] == [noise[7, 31].tolist(), noise[12, 3].tolist()]


@pytest.mark.parametrize("kind", ["points", "strokes"])
def test_only_chunks_under_marks_are_read(noise, kind):
    read = []

    def load(chunk, block_info=None):
        read.append(block_info[0]["chunk-location"][:2])
        return chunk

    meta = np.empty((0, 0, 0), np.uint8)
    lazy = da.from_array(noise, chunks=(10, 10, 3)).map_blocks(load, dtype=np.uint8, meta=meta)
    layer = Image(lazy, rgb=True, contrast_limits=(0, 255))
    pixels = [(5, 31), (28, 8), (6, 33)]
    marks = Points(pixels)
    if kind == "strokes":
        marks = Labels(strokes_on(noise, [np.s_[y : y + 1, x : x + 1] for y, x in pixels]))
    start = StartMarks.of(marks, layer, Source.of(layer))
    read.clear()
    colors = start.colors(Source.of(layer))
    np.testing.assert_array_equal(colors, [noise[pixel] for pixel in pixels])
    assert set(read) == {(0, 3), (2, 0)}
    labels, _ = segment_layer(layer, init=marks)
    expected = segment(noise, 3, rgb=True, init=colors)
    numbers = number_as_started(expected)
    # The strokes have the labels 3, 7 and 11.
    expected = numbers if kind == "points" else np.array([3, 7, 11])[numbers - 1]
    np.testing.assert_array_equal(np.asarray(labels.data), expected)


# ---------------------------------------------------------------------- stacks


@pytest.fixture
def volume():
    return np.random.default_rng(0).integers(0, 60000, (4, 9, 11)).astype(np.uint16)


def test_points_in_a_volume(volume):
    layer = Image(volume, scale=(4, 0.5, 0.7), translate=(10, -3, 2))
    pixels = [(3, 2, 1), (0, 8, 10)]
    labels, _ = segment_layer(layer, init=points_over(layer, pixels))
    assert options_of(labels)["init"] == [[volume[pixel]] for pixel in pixels]


@pytest.mark.parametrize("strokes", [False, True])
def test_2d_marks_lie_in_the_slice_that_is_clustered(volume, strokes):
    layer = Image(volume, scale=(4, 0.5, 0.7))
    marks = Points([(1, 2), (4, 5)], scale=(0.5, 0.7))
    if strokes:
        canvas = np.zeros((9, 11), int)
        canvas[1, 2], canvas[4, 5] = 1, 2
        marks = Labels(canvas, scale=(0.5, 0.7))
    labels, _ = segment_layer(layer, init=marks, stack=2)
    assert options_of(labels)["init"] == [[volume[2, 1, 2]], [volume[2, 4, 5]]]


def test_2d_points_lie_in_the_slice_in_view(make_napari_viewer, volume):
    viewer = make_napari_viewer()
    layer = viewer.add_image(volume, scale=(4, 0.5, 0.7))
    viewer.dims.set_current_step(0, 3)
    points = Points([(1, 2), (4, 5)], scale=(0.5, 0.7))
    labels, _ = segment_layer(layer, init=points)
    assert options_of(labels)["init"] == [[volume[3, 1, 2]], [volume[3, 4, 5]]]


def test_all_slices_start_from_the_same_colors(volume):
    labels, _ = segment_layer(
        Image(volume), init=Points([(3, 2, 1), (0, 8, 10), (1, 1, 1)]), stack="each"
    )
    colors = np.array([[volume[3, 2, 1]], [volume[0, 8, 10]], [volume[1, 1, 1]]], float)
    for number in range(4):
        expected = segment(volume[number], 3, init=colors)
        np.testing.assert_array_equal(labels.data[number], number_as_started(expected))


# ---------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("init", "sentence"),
    [
        (Points(ndim=2, name="seeds"), "init must have a point to start from, got none in 'seeds'"),
        (
            Points([(1, 1), (5, 20.6), (-0.6, 3)], name="seeds"),
            "init must have its points over the image, got 2 of 3 in 'seeds' outside of 'picture'",
        ),
        (
            Labels(np.zeros((20, 21), int), name="drawn"),
            "init must have a label to start from, got none in 'drawn'",
        ),
        (
            Labels(np.arange(40).reshape(4, 10) // 20 + 4, name="drawn", translate=(18, 2)),
            "init must have pixels of the image under each label, got none that count under 5 of",
        ),
        (Shapes(ndim=2), "init must be 'k-means\\+\\+', 'random' or an array"),
    ],
)
def test_unusable_marks_raise_one_sentence(quadrants, init, sentence):
    with pytest.raises(ValueError, match=sentence):
        segment_layer(Image(quadrants, name="picture", rgb=True), init=init)


def test_error_names_the_point_on_a_transparent_pixel(quadrants):
    image = np.dstack([quadrants, np.full((20, 21), 255, np.uint8)])
    image[4, 5, 3] = 0
    with pytest.raises(ValueError, match=r"under each point, got none that count under 2 of"):
        segment_layer(Image(image, rgb=True), init=Points([(1, 1), (4, 5)]))


# ------------------------------------------------------ layers that hold marks


def test_can_hold_marks_accepts_points_and_labels_over_the_image(quadrants):
    image = Image(quadrants, rgb=True, translate=(100, 100))
    over = Points([(105, 103)])
    assert can_hold_marks(over, image)
    assert can_hold_marks(Points(ndim=2), image)
    assert can_hold_marks(Labels(np.ones((150, 150), int)), image)
    assert can_hold_marks(Points([(7, 105, 103)]), image)
    assert not can_hold_marks(Points([(5, 3)]), image)
    assert not can_hold_marks(Labels(np.ones((50, 50), int)), image)
    assert not can_hold_marks(Shapes(), image)
    assert not can_hold_marks(Image(quadrants, rgb=True, translate=(100, 100)), image)
    assert not can_hold_marks(over, None)
    over.metadata[METADATA_KEY] = {"kind": "coreset"}
    assert not can_hold_marks(over, image)


def test_count_marks():
    assert count_marks(Points([(1, 1), (2, 2)], shown=[True, False])) == 1
    assert count_marks(Labels(np.array([[0, 9, 9], [2, 0, 70]]))) == 3
    assert count_marks(Labels(da.ones((4, 4), dtype=int))) is None


# -------------------------------------------------------------------- the dock


def notifications():
    return [(str(each.severity), each.message) for each in notification_manager.records]


def test_dock_offers_layers_with_marks(viewer, dock):
    assert dock.init.choices == ("k-means++", "random")
    seeds = viewer.add_points([(1, 2)], name="seeds")
    viewer.add_points([(100, 2)], name="far")
    drawn = viewer.add_labels(np.zeros((20, 21), int), name="drawn")
    assert dock.init.choices == ("k-means++", "random", seeds, drawn)
    dock.init.value = seeds
    seeds.name = "mine"
    assert dock.init.current_choice == "mine"
    viewer.layers.remove(seeds)
    assert dock.init.value == "k-means++"
    assert dock.n_clusters.enabled


def test_dock_runs_from_points(viewer, dock, finish, qtbot, quadrants):
    seeds = viewer.add_points([(2, 3), (1, 17), (15, 4)], name="seeds")
    dock.init.value = seeds
    assert dock.n_clusters.value == 3
    assert not dock.n_clusters.enabled
    assert not dock.n_clusters_slider.enabled
    assert not dock.n_init.enabled
    dock.run_button.native.click()
    finish(dock)
    labels = viewer.layers["picture labels"]
    assert options_of(labels)["init"] == [quadrants[at].tolist() for at in CORNERS[:3]]
    seeds.add((18, 12))
    qtbot.waitUntil(lambda: dock.n_clusters.value == 4)
    dock.run_button.native.click()
    finish(dock)
    assert options_of(labels)["init"] == [quadrants[at].tolist() for at in CORNERS]
    assert not notifications()
    dock.init.value = "random"
    assert dock.n_clusters.enabled
    assert dock.n_clusters_slider.enabled
    seeds.add((3, 3))
    qtbot.wait(20)
    assert dock.n_clusters.value == 4


def test_dock_runs_from_strokes_drawn_after_the_choice(viewer, dock, finish, qtbot, quadrants):
    drawn = viewer.add_labels(np.zeros((20, 21), int), name="drawn")
    dock.init.value, dock.n_clusters.value = drawn, 9
    drawn.brush_size = 1
    for number, at in enumerate(CORNERS[:2]):
        drawn.paint(at, number + 1)
    qtbot.waitUntil(lambda: dock.n_clusters.value == 2)
    # A script may write to the array. napari then emits no event.
    drawn.data[15, 4] = 3
    dock.run_button.native.click()
    finish(dock)
    stored = options_of(viewer.layers["picture labels"])
    assert stored["init"] == [quadrants[at].tolist() for at in CORNERS[:3]]
    assert dock.n_clusters.value == 3


def test_live_run_follows_a_moved_point(viewer, dock, finish, qtbot):
    noise = np.random.default_rng(1).integers(0, 256, (30, 40, 3)).astype(np.uint8)
    image = viewer.add_image(noise, name="noise", rgb=True)
    seeds = viewer.add_points([(0, 0), (29, 39)], name="seeds")
    dock.image.value, dock.init.value = image, seeds
    dock.live.value = True
    finish(dock)
    labels = viewer.layers["noise labels"]
    seeds.data = [(0, 0), (12, 7)]
    finish(dock)
    stored = [noise[0, 0].tolist(), noise[12, 7].tolist()]
    qtbot.waitUntil(lambda: options_of(labels)["init"] == stored, timeout=10_000)
    assert not notifications()


def test_live_run_from_its_own_labels_does_not_repeat(viewer, dock, finish, qtbot):
    """A run changes the layer that it starts from. This must not start another run."""
    dock.run_button.native.click()
    finish(dock)
    runs = []
    dock.segmented.connect(runs.append)
    dock.init.value = viewer.layers["picture labels"]
    dock.live.value = True
    finish(dock)
    qtbot.wait(300)
    assert len(runs) == 1
    assert not notifications()


def test_dock_shows_an_error_for_points_outside(viewer, dock, finish):
    seeds = viewer.add_points([(2, 3), (1, 17)], name="seeds")
    dock.init.value = seeds
    seeds.data = [(2, 3), (1, 99)]
    assert dock.init.value is seeds
    dock.run_button.native.click()
    finish(dock)
    ((severity, message),) = notifications()
    assert severity == "error"
    assert "got 1 of 2 in 'seeds' outside of 'picture'" in message
    assert list(viewer.layers) == [viewer.layers["picture"], seeds]


def test_points_deleted_during_a_run_have_no_effect(viewer, dock, finish, qtbot, slow, quadrants):
    viewer.layers["picture"].data = slow
    seeds = viewer.add_points([(2, 3), (1, 17)], name="seeds")
    dock.init.value = seeds
    dock.run()
    qtbot.waitUntil(slow.asked.is_set)
    viewer.layers.remove(seeds)
    slow.go_on.set()
    finish(dock)
    stored = options_of(viewer.layers["picture labels"])
    assert stored["init"] == [quadrants[at].tolist() for at in CORNERS[:2]]


def test_dock_keeps_the_colors_and_names_of_marks_and_says_where_centers_left(
    viewer, dock, finish, quadrants
):
    """The image has more colors than marks: a center must leave its mark, or be kept there."""
    assert not dock.keep_init.enabled
    seeds = viewer.add_points(CORNERS[:3], features={"name": ["night", "red", ""]}, name="seeds")
    dock.init.value = seeds
    assert dock.keep_init.enabled
    dock.run()
    finish(dock)
    labels = viewer.layers["picture labels"]
    assert labels.features["name"].tolist() == ["night", "red", ""]
    note = dock.marks_note
    assert not note.isHidden()
    assert note.text().startswith("The color of class 3 has visibly moved from its mark: check")
    dock.keep_init.value = True
    dock.run()
    finish(dock)
    assert note.isHidden()
    marks = np.array([quadrants[at] for at in CORNERS[:3]], int)
    distances = np.linalg.norm(quadrants[:, :, None].astype(int) - marks, axis=-1)
    np.testing.assert_array_equal(labels.data, distances.argmin(axis=-1) + 1)
    assert options_of(labels)["keep_init"] is True
    assert labels.features["name"].tolist() == ["night", "red", ""]
    # A name of the user wins over that of the mark.
    labels.features = labels.features.assign(name=["night", "brick", ""])
    seeds.features = {"name": ["dark", "red", "rest"]}
    dock.run()
    finish(dock)
    assert labels.features["name"].tolist() == ["night", "brick", "rest"]
    dock.init.value = "k-means++"
    dock.run()
    finish(dock)
    assert not dock.keep_init.enabled
    assert options_of(labels)["keep_init"] is False


@pytest.mark.parametrize("stack", ["whole", "each"])
def test_copied_script_gives_the_classes_of_marks(quadrants, tmp_path, monkeypatch, stack):
    monkeypatch.chdir(tmp_path)
    image = quadrants[None] if stack == "each" else quadrants
    np.save("image.npy", image)
    layer = Image(image, rgb=True)
    points = Points([CORNERS[3], CORNERS[0]], features={"name": ["paper", "night"]})
    options = Options(n_clusters=1)
    task = Task.of(
        [layer], options, start=points, keep_start=True, mask=None, level=None, stack=stack
    )
    outcome = task.run()
    labels = labels_layer(outcome, task.source)
    script = script_of(Result(task, outcome, (labels,)))
    found = {}
    exec(script, found)
    if stack == "whole":
        np.testing.assert_array_equal(found["labels"], labels.data)
        assert found["segmentation"].table["name"].tolist() == ["paper", "night"]
    else:
        # Slices cannot have the numbers of marks: a comment says so.
        assert "have the numbers and names of the marks" in script
        assert labels.features["name"].tolist() == ["paper", "night"]
