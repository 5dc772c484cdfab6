"""KMeansModel: predict, apply and recolor agree with segment, and a saved model is the same."""

import json
import warnings

import dask.array as da
import numpy as np
import pytest
from skimage import data

from napari_kmeans import KMeansModel, segment, segment_slices
from napari_kmeans.options import Options


@pytest.fixture(scope="module")
def coffee():
    return data.coffee()[::2, ::2]


@pytest.fixture(scope="module", params=["rgb", "hsv", "lab"])
def fitted(request, coffee):
    return segment(coffee, 6, color_space=request.param)


@pytest.mark.parametrize("method", ["full", "coreset"])
@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
def test_predict_gives_the_fitted_image_its_labels(coffee, dtype, method):
    image = coffee.astype(dtype)
    result = segment(image, 6, method=method)
    np.testing.assert_array_equal(result.model.predict(image), result.labels)


def test_predict_gives_another_image_the_nearest_centers(fitted):
    other = data.chelsea()[::2, ::2]
    labels = fitted.model.predict(other)
    alone = fitted.model.predict(other[:1, :1])
    assert labels[0, 0] == alone[0, 0]
    if fitted.model.color_space == "rgb":
        squared = ((other[:, :, None] - fitted.model.cluster_centers_) ** 2).sum(axis=3)
        np.testing.assert_array_equal(labels, squared.argmin(axis=2) + 1)


def test_predict_gives_excluded_pixels_label_0(fitted, coffee):
    rgba = np.dstack([coffee, np.full(coffee.shape[:2], 255, np.uint8)])
    rgba[:10, :, 3] = 0
    mask = np.ones(coffee.shape[:2], bool)
    mask[:, :10] = False
    labels = fitted.model.predict(rgba, mask=mask)
    assert not labels[:10].any()
    assert not labels[:, :10].any()
    np.testing.assert_array_equal(labels[10:, 10:], fitted.labels[10:, 10:])


def test_predict_of_a_dask_image_is_lazy(fitted, coffee):
    labels = fitted.model.predict(da.from_array(coffee, chunks=(50, 60, 3)))
    assert isinstance(labels, da.Array)
    np.testing.assert_array_equal(labels.compute(), fitted.labels)


def test_predict_reports_progress_and_can_be_cancelled(fitted, coffee):
    seen = []
    fitted.model.predict(coffee, progress=lambda *args: seen.append(args))
    assert seen[-1] == (1000, 1000)
    with pytest.raises(KeyboardInterrupt):
        fitted.model.predict(coffee, progress=lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))


@pytest.mark.parametrize("axis", [None, 0, -1])
@pytest.mark.parametrize("dtype", ["?", "u1", "i2", "f4"])
def test_apply_gives_the_fitted_image_its_labels_and_colors(dtype, axis):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 2 if dtype == "?" else 100, (6, 7, 8)).astype(dtype)
    result = segment(image, 2, rgb=False, channel_axis=axis)
    labels, recolored = result.model.apply(image)
    np.testing.assert_array_equal(labels, result.labels)
    np.testing.assert_array_equal(recolored, result.recolored)
    assert recolored.dtype == image.dtype


def test_apply_keeps_alpha_and_excluded_pixels(fitted, coffee):
    rgba = np.dstack([coffee, np.full(coffee.shape[:2], 255, np.uint8)])
    rgba[:10, :, 3] = 0
    rgba[50:, :, 3] = 9
    mask = np.ones(coffee.shape[:2], bool)
    mask[:, :10] = False
    labels, recolored = fitted.model.apply(rgba, mask=mask)
    np.testing.assert_array_equal(labels, fitted.model.predict(rgba, mask=mask))
    np.testing.assert_array_equal(recolored[..., 3], rgba[..., 3])
    excluded = labels == 0
    assert excluded[:10].all()
    assert excluded[:, :10].all()
    np.testing.assert_array_equal(recolored[excluded], rgba[excluded])
    colors = np.rint(fitted.model.palette)
    np.testing.assert_array_equal(recolored[~excluded][:, :3], colors[labels[~excluded] - 1])


@pytest.mark.parametrize("dtype", ["u2", "i4", "f4", "f8"])
def test_apply_reads_any_dtype_in_the_units_of_the_model(coffee, dtype):
    result = segment(coffee, 6)
    labels, recolored = result.model.apply(coffee.astype(dtype))
    np.testing.assert_array_equal(labels, result.labels)
    assert recolored.dtype == dtype
    palette = result.model.palette
    expected = (palette if dtype[0] == "f" else np.rint(palette))[labels - 1]
    np.testing.assert_allclose(recolored, expected, rtol=1e-6)


def test_apply_clips_colors_to_the_range_of_the_dtype():
    model = segment(np.array([[0, 300], [0, 300]], np.uint16), 2).model
    labels, recolored = model.apply(np.array([[0, 255]], np.uint8))
    assert labels.tolist() == [[1, 2]]
    assert recolored.tolist() == [[0, 255]]


@pytest.mark.parametrize("axis", [None, 0, -1])
def test_apply_reads_chunks_of_a_dask_image_only_on_compute(axis):
    image = np.random.default_rng(0).integers(0, 9, (4, 6, 8)).astype(np.uint8)
    model = segment(image, 3, rgb=False, channel_axis=axis).model
    read = []

    def record(chunk):
        read.append(chunk.shape)
        return chunk

    lazy = da.from_array(image, chunks=(4, 3, 4) if axis == 0 else (2, 3, 8)).map_blocks(
        record, meta=np.empty((0, 0, 0), np.uint8)
    )
    labels, recolored = model.apply(lazy)
    assert not read
    assert isinstance(labels, da.Array)
    expected = model.apply(image)
    np.testing.assert_array_equal(labels.compute(), expected[0])
    np.testing.assert_array_equal(recolored.compute(), expected[1])
    read.clear()
    recolored[(slice(0, 1),) * 3].compute()
    assert len(read) == 1


OTHER_UNITS = [
    (np.uint16, 257, True), (np.float32, 1 / 255, True), (np.float64, 1 / 255, True),
    (np.int64, 2**40, True), (np.uint16, 1, False), (np.float32, 1, False), (np.int64, 1, False),
    (np.float32, 15.9, False), (np.uint8, 0.01, False), (np.float32, 0, False),
]  # fmt: skip
"""Dtypes, factors by which a uint8 picture is multiplied, and whether a warning is expected."""


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize(("dtype", "factor", "warns"), OTHER_UNITS)
def test_image_in_other_units_gives_one_warning(coffee, dtype, factor, warns, lazy):
    bright = np.where(coffee > 250, 250, coffee)
    bright[90:110, 140:160] = 250
    model = segment(bright, 6).model
    # The largest value is that of the palette, so that the quotient of both is the factor.
    image = (np.minimum(bright, model.palette.max()) * factor).astype(dtype)
    variant = da.from_array(image, chunks=(70, 80, 3)) if lazy else image
    for call in (model.predict, model.apply):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            call(variant)
        assert len(caught) == warns
        if warns:
            message = str(caught[0].message)
            assert message.startswith(f"image holds {np.dtype(dtype)} values up to ")
            assert f"the model's colors, of uint8, go up to {model.palette.max():g}" in message
            assert message.count(". ") == 0
            assert caught[0].category is UserWarning
            assert caught[0].filename == __file__


@pytest.mark.parametrize(
    ("fitted", "applied", "warns"),
    [(1, 255, True), (255, 1, True), (255, 8, False), (255, 4095, False), (0.01, 1, False)],
)
def test_floats_up_to_1_and_up_to_255_are_in_other_units(fitted, applied, warns):
    values = np.linspace(0, 1, 200).reshape(10, 20)
    model = segment(values * fitted, 2, rgb=False).model
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.predict(values * applied)
    assert len(caught) == warns


def test_excluded_pixels_give_no_warning_about_units(coffee):
    model = segment(coffee, 6).model
    inside = np.ones(coffee.shape[:2], bool)
    inside[:5] = False
    alpha = np.dstack([coffee, 65535 * inside]).astype(np.uint16)
    outlier = coffee.astype(np.float32)
    outlier[:5] = 1e6
    for image, mask in ((alpha, {}), (outlier, {"mask": inside})):
        lazy = da.from_array(image, chunks=(50, 60, -1))
        for variant in (image, lazy):
            labels = np.asarray(model.predict(variant, **mask))
            np.testing.assert_array_equal(labels == 0, ~inside)
    with pytest.warns(UserWarning, match=r"float32 values up to 1e\+06"):
        model.predict(outlier)


def test_check_of_units_reads_only_the_middle_of_a_dask_image():
    read = []

    def record(chunk, block_info=None):
        read.append(tuple(block_info[0]["chunk-location"]))
        return chunk

    image = da.full((9, 2048, 2048), 3e4, chunks=(1, 256, 256), dtype=np.float32)
    lazy = image.map_blocks(record, dtype=image.dtype, meta=np.empty((0, 0, 0), np.float32))
    model = segment(np.arange(200, dtype=np.uint8).reshape(2, 100), 3, rgb=False).model
    with pytest.warns(UserWarning, match="float32 values up to 30000, while"):
        model.apply(lazy)
    assert sorted(read) == [(4, row, column) for row in (3, 4) for column in (3, 4)]


@pytest.mark.parametrize("lazy", [False, True])
def test_stack_in_other_units_gives_one_warning(lazy):
    stack = np.random.default_rng(0).integers(0, 250, (3, 20, 30)).astype(np.uint8)
    model = segment_slices(stack, 2, rgb=False).model
    image = stack / 255
    image = da.from_array(image, chunks=(1, 20, 30)) if lazy else image
    with pytest.warns(UserWarning, match="image holds float64 values up to") as caught:
        model.apply(image)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    model.apply(stack.astype(float))


def test_model_has_its_options(coffee):
    for values in ({"normalize": "zscore"}, {"color_space": "lab"}, {}):
        options = segment(coffee, 5, **values).model.options
        assert options.to_dict() == Options(n_clusters=5, **values).to_dict()


def test_apply_reports_progress_and_refuses_other_channels(fitted, coffee):
    seen = []
    fitted.model.apply(coffee, progress=lambda *args: seen.append(args))
    assert seen[-1] == (1000, 1000)
    with pytest.raises(ValueError, match="the model's 3 channels, got 2"):
        fitted.model.apply(np.zeros((40, 40, 2)))


@pytest.mark.parametrize("shape", [(40,), (40, 40), (40, 40, 2)])
def test_predict_refuses_an_image_without_color(fitted, shape):
    with pytest.raises(ValueError, match=r"model's 3 channels, got (1|2|40) in shape"):
        fitted.model.predict(np.zeros(shape))


def test_predict_refuses_another_number_of_channels():
    model = segment(np.random.default_rng(0).random((9, 9, 2)), 2, channel_axis=2).model
    for image in (np.zeros((9, 9, 5)), np.zeros((2, 9))):
        with pytest.raises(ValueError, match="the model's 2 channels"):
            model.predict(image)


@pytest.mark.parametrize("dtype", ["?", "u1", "i2", "f4"])
@pytest.mark.parametrize("axis", [None, 0, -1])
def test_recolor_gives_the_recolored_image(dtype, axis):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 2 if dtype == "?" else 100, (6, 7, 8)).astype(dtype)
    result = segment(image, 2, rgb=False, channel_axis=axis)
    recolored = result.model.recolor(result.labels)
    np.testing.assert_array_equal(recolored, result.recolored)
    assert recolored.dtype == image.dtype


def test_recolor_makes_label_0_black(fitted):
    assert fitted.model.recolor(np.array([[0]])).tolist() == [[[0, 0, 0]]]


@pytest.mark.parametrize(
    ("labels", "error"),
    [([[7]], ValueError), ([[-1]], ValueError), ([[0.5]], TypeError)],
)
def test_recolor_refuses_invalid_labels(fitted, labels, error):
    with pytest.raises(error, match="labels must"):
        fitted.model.recolor(np.array(labels))


def test_loaded_model_equals_the_saved_model(fitted, coffee, tmp_path):
    path = tmp_path / "model.json"
    fitted.model.save(path)
    loaded = KMeansModel.load(path)
    assert loaded.to_dict() == fitted.model.to_dict()
    np.testing.assert_array_equal(loaded.cluster_centers_, fitted.model.cluster_centers_)
    np.testing.assert_array_equal(loaded.predict(coffee), fitted.labels)
    np.testing.assert_array_equal(loaded.recolor(fitted.labels), fitted.recolored)
    assert [item.name for item in tmp_path.iterdir()] == ["model.json"]


@pytest.mark.parametrize("axis", [None, 0])
@pytest.mark.parametrize("dtype", ["?", "u2", "i8", "f2", "f8"])
def test_models_of_any_dtype_can_be_saved(axis, dtype, tmp_path):
    image = np.arange(60).reshape(3, 4, 5).astype(dtype)
    model = segment(image, 2, rgb=False, channel_axis=axis).model
    model.save(tmp_path / "model.json")
    assert KMeansModel.load(tmp_path / "model.json").to_dict() == model.to_dict()


def test_failed_save_leaves_no_file(fitted, tmp_path):
    (tmp_path / "model.json").mkdir()
    with pytest.raises(OSError, match=r"model\.json"):
        fitted.model.save(tmp_path / "model.json")
    assert [item.name for item in tmp_path.iterdir()] == ["model.json"]


@pytest.mark.parametrize(
    "change",
    [
        {"format": "something else"},
        {"version": 3},
        {"color_space": "xyz"},
        {"color_space": ["rgb"]},
        {"rgb": 1},
        {"rgb": False, "color_space": "hsv"},
        {"rgb": False, "channel_axis": None},
        {"channel_axis": "last"},
        {"channel_axis": 0},
        {"channel_axis": None},
        {"dtype": "object"},
        {"dtype": "uint24"},
        {"dtype": "datetime64"},
        {"dtype": 8},
        {"cluster_centers": []},
        {"cluster_centers": [[]]},
        {"cluster_centers": [[1, 2, 3], [4, 5]]},
        {"cluster_centers": [[1, 2, "3"]] * 6},
        {"cluster_centers": [[1, 2, None]] * 6},
        {"cluster_centers": [[1, 2, True]] * 6},
        {"cluster_centers": [[1, 2, 10**400]] * 6},
        {"cluster_centers": [[1, 2]] * 6},
        {"cluster_centers": [1, 2, 3]},
        {"cluster_centers": {"a": 1}},
        {"palette": [[1, 2, 3]]},
        {"palette": [[1, 2]] * 6},
        {"palette": None},
        {"inertia": -1},
        {"inertia": "0"},
        {"inertia": True},
        {"inertia": 10**400},
        {"normalize": "zscore"},
        {"normalize": None},
        {"offset": [1, 2, 3]},
        {"normalize": "zscore", "offset": [1, 2, 3], "scale": [1, 2]},
        {"normalize": "zscore", "offset": [1, 2, 3], "scale": [1, 2, 0]},
        {"normalize": "zscore", "offset": [1, 2, 10**400], "scale": [1, 2, 3]},
        {"normalize": "zscore", "offset": [0] * 3, "scale": [1] * 3, "color_space": "lab"},
        {"n_iter": None},
    ],
)
def test_load_refuses_a_file_with_an_invalid_value(fitted, change, tmp_path):
    path = tmp_path / "model.json"
    path.write_text(json.dumps(fitted.model.to_dict() | change))
    with pytest.raises(ValueError, match="cannot read a model from") as caught:
        KMeansModel.load(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "NaN", "{", "\x00", "[" * 100_000, '{"a": 1}', "é"])
def test_load_refuses_a_file_without_json(text, tmp_path):
    path = tmp_path / "model.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match="cannot read a model from"):
        KMeansModel.load(path)
