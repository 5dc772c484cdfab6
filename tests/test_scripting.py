"""to_python: the script gives the labels and the recolored image of the run that it repeats."""

import ast
import subprocess
import sys

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
from skimage import data

from napari_kmeans import (
    apply_classes,
    merge_clusters,
    samples,
    segment,
    summarize,
    to_python,
)
from napari_kmeans.imaging.blocks import is_dask
from napari_kmeans.options import Options
from napari_kmeans.scripting import Part


def run(text, directory):
    """Run a script in a new process, and return its labels and its recolored image."""
    script = directory / "script.py"
    script.write_text(
        text + "np_ = __import__('numpy')\nnp_.savez('out.npz', a=labels, b=recolored)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", script.name],
        cwd=directory,
        capture_output=True,
        text=True,
    )
    assert not done.returncode, done.stderr
    assert "percent" in done.stdout
    with np.load(directory / "out.npz") as out:
        return out["a"], out["b"]


def check(text, segmentation, directory):
    labels, recolored = run(text, directory)
    np.testing.assert_array_equal(labels, segmentation.labels)
    np.testing.assert_array_equal(recolored, segmentation.recolored)


def test_script_has_options_of_all_kinds(tmp_path):
    options = Options(
        n_clusters=5, color_space="hsv", method="full", n_init=2, tol=1e-3, random_state=7
    )
    expected = segment(samples.photograph(), rgb=True, **options.to_dict())
    check(to_python(options, sample="photograph", rgb=True), expected, tmp_path)


def test_script_has_the_exact_values_of_init(tmp_path):
    init = np.random.default_rng(0).uniform(0, 255, (4, 3)) / 3
    expected = segment(data.coffee(), 4, init=init, max_iter=2)
    text = to_python(expected.options, sample="photograph", rgb=True)
    (call,) = [
        node.value
        for node in ast.parse(text).body
        if "segment(" in ast.unparse(node).split("\n")[0]
    ]
    (written,) = [word.value for word in call.keywords if word.arg == "init"]
    np.testing.assert_array_equal(ast.literal_eval(written), init)
    check(text, expected, tmp_path)


@pytest.mark.parametrize("name", ['it\'s a "picture".png', "Bild ä.tif"])
def test_script_reads_the_file_from_any_directory(tmp_path, name, monkeypatch):
    iio.imwrite(tmp_path / name, data.coffee()[:80, :90])
    monkeypatch.chdir(tmp_path)
    other = tmp_path / "elsewhere"
    other.mkdir()
    expected = segment(data.coffee()[:80, :90], 6)
    check(to_python(expected.options, path=name, rgb=True), expected, other)


def test_script_has_the_channel_axis(tmp_path):
    stack = np.random.default_rng(0).integers(0, 2000, (2, 20, 30)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "stack.tif", stack, metadata={"axes": "CYX"})
    expected = segment(stack, 3, channel_axis=0)
    text = to_python(expected.options, path=tmp_path / "stack.tif", channel_axis=0)
    check(text, expected, tmp_path)


def test_script_states_how_to_save_an_image_and_mask_without_a_file(tmp_path):
    image = np.arange(4 * 40 * 50, dtype=np.uint16).reshape(40, 50, 4)
    mask = np.indices(image.shape).sum(axis=0) % 3 > 0
    expected = segment(image, 3, rgb=False, mask=mask)
    options = expected.options
    text = to_python(options, name="cells\n\"'", path=tmp_path / "gone.tif", rgb=False, mask=True)
    assert "numpy.save(\"image.npy\", viewer.layers['cells\\n\"\\''].data)" in text
    assert 'numpy.save("mask.npy", the_mask)' in text
    np.save(tmp_path / "image.npy", image)
    np.save(tmp_path / "mask.npy", mask)
    check(text, expected, tmp_path)


def test_script_of_a_run_from_a_summary_gives_its_labels(tmp_path):
    image = data.coffee().astype(np.float32) + np.float32(0.25)
    summary = summarize(image, random_state=3)
    expected = segment(image, 20, summary=summary, random_state=3)
    np.save(tmp_path / "image.npy", image)
    check(to_python(expected.options, rgb=True), expected, tmp_path)


def test_script_merges_the_clusters_again(tmp_path):
    before = segment(samples.histology(), 6)
    groups = np.array([0, 1, 1, 2, 3, 3])
    text = to_python(before.options, sample="histology", rgb=True, groups=groups)
    check(text, merge_clusters(before, groups), tmp_path)


def test_script_edits_the_classes_again(tmp_path):
    before = segment(samples.histology(), 6)
    classes = before.model.classes.merge([5, 2, 3]).rename(5, 'it\'s "soil"').ignore(1)
    expected = apply_classes(before, classes.recolor(4, "#ff0080").renumber({6: 300}))
    text = to_python(
        before.options, sample="histology", rgb=True, classes=expected.model.classes, joined={1: 2}
    )
    check(text, expected, tmp_path)
    scope = {}
    exec(text, scope)
    assert scope["segmentation"].table.to_csv() == expected.table.to_csv()
    assert scope["segmentation"].model.to_dict() == expected.model.to_dict()


def test_script_edits_the_classes_of_merged_clusters_in_all_levels(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    image, mask = samples.histology(), np.ones(samples.histology().shape[:2], bool)
    mask[:9] = False
    for level, step in enumerate((1, 2)):
        np.save(f"image-{level}.npy", image[::step, ::step])
        np.save(f"mask-{level}.npy", mask[::step, ::step])
    before = merge_clusters(segment(image, 6, mask=mask), [0, 1, 1, 2, 3, 3])
    edited = apply_classes(before, before.model.classes.merge([1, 2]).rename(1, "soil"))
    text = to_python(
        before.options,
        rgb=True,
        mask=True,
        groups=before.model.center_labels,
        classes=edited.model.classes,
        part=Part(n_levels=2),
    )
    scope = {}
    exec(text, scope)
    np.testing.assert_array_equal(scope["labels"][0], edited.labels)
    np.testing.assert_array_equal(scope["recolored"][0], edited.recolored)
    second = edited.model.apply(image[::2, ::2], mask=mask[::2, ::2])
    np.testing.assert_array_equal(scope["labels"][1], second[0])
    np.testing.assert_array_equal(scope["recolored"][1], second[1])
    assert scope["segmentation"].table.to_csv() == edited.table.to_csv()


def test_script_merges_labels_in_all_levels_also_of_dask_arrays(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    image = samples.histology()
    for level, pixels in enumerate((image, image[::2, ::2])):
        np.save(f"image-{level}.npy", pixels)
    part, joined = Part(n_levels=2), {5: 2, 1: 2, 6: 3}
    text = to_python(Options(n_clusters=6), rgb=True, joined=joined, part=part)
    expected = np.array([0, 2, 2, 3, 4, 2, 3])[segment(image, 6).labels]
    scope = {}
    exec(text, scope)
    assert scope["labels"][0].dtype == np.uint8
    np.testing.assert_array_equal(scope["labels"][0], expected)
    assert set(np.unique(scope["labels"][1])) == {2, 3, 4}
    lazy = text.replace("np.load(", "da.from_array(np.load(").replace('.npy")', '.npy"))')
    exec(f"import dask.array as da\n{lazy}", scope)
    assert is_dask(scope["labels"][0])
    np.testing.assert_array_equal(scope["labels"][0].compute(), expected)


def test_script_omits_default_values():
    text = to_python(Options(), sample="volume")
    (call,) = [
        node.value
        for node in ast.parse(text).body
        if isinstance(node, ast.Assign) and ast.unparse(node).startswith("segmentation")
    ]
    assert ast.unparse(call) == "segment(image, n_clusters=8)"
    assert "numpy" not in text
    assert "random_state=None): another run may differ" in to_python(Options(random_state=None))


def test_unknown_sample_is_refused():
    with pytest.raises(ValueError, match=r"sample must be 'photograph' or .* got 'cat'"):
        to_python(Options(), sample="cat")
