"""The methods paragraph states what the record contains, with the references of its options."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

from napari_kmeans._version import __version__
from napari_kmeans.batch.fitting import describe_fit
from napari_kmeans.batch.methods import as_plain_text, describe_methods
from napari_kmeans.batch.references import REFERENCES
from napari_kmeans.options import Options

RGB = {"shape": [512, 384, 3], "dtype": "uint8", "rgb": True, "channels": []}
GRAY = {"shape": [20, 512, 384], "dtype": "uint16", "rgb": False, "channels": ["DAPI"]}
MULTICHANNEL = {
    **{"shape": [5, 512, 384], "dtype": "uint16", "rgb": False, "channels": []},
    "axes": [
        ["c", "channel", "", 1.0, 0.0],
        *([name, "space", "", 1.0, 0.0] for name in "yx"),
    ],
}


def make_model(kind=RGB, n_clusters=4, **entries):
    n_channels = {"uint8": 3, "uint16": 1}[kind["dtype"]] if "axes" not in kind else 5
    centers = [[float(n)] * n_channels for n in range(n_clusters)]
    return {"cluster_centers": centers, "palette": centers, **entries}


def describe(
    n_images=2,
    kind=RGB,
    model="shared",
    study=None,
    images=(),
    n_colors=None,
    version=__version__,
    **options,
):
    """Return the paragraph, and the references below it."""
    record = {
        **{"versions": {"napari-kmeans": version, "python": "3.12.1"}, "study": study or {}},
        "options": Options(**{"n_clusters": 4, **options}).to_dict(),
        "model": make_model(kind) if model == "shared" else model,
        "n_colors": n_colors,
        "images": [{"name": f"a{n}", "status": "done", **kind} for n in range(n_images)],
    }
    for image, entries in zip(record["images"], images, strict=False):
        image |= entries
    paragraph, _, references = describe_methods(record).partition("\n\n")
    # Each number in the text has one entry, in the order of the text.
    numbers = [
        int(each) for found in re.findall(r"\[([\d, ]+)\]", paragraph) for each in found.split(", ")
    ]
    assert list(dict.fromkeys(numbers)) == list(range(1, len(references.splitlines()) + 1))
    return paragraph, references


def test_the_colors_of_the_fit_are_counted():
    few, many = describe(n_colors=1234)[0], describe(n_colors=3_000_000)[0]
    assert "represent the pixels" in few
    assert "was 10,000 points, and the fit continued on all 1,234 distinct colors." in few
    assert "represent all pixels, which had 3,000,000 distinct colors; the size" in many
    assert "was 10,000 points." in many
    assert "on all colors if there were at most 262,144." in describe()[0]


def test_default_options():
    paragraph, references = describe()
    for text in (
        "2 images (512 \N{MULTIPLICATION SIGN} 384 pixels, uint8, RGB) were segmented with "
        "napari-kmeans 0.1.1 [1] by K-means clustering of pixel colors [2].",
        "by their channel values",
        "One model was fitted to all images together.",
        "K = 4",
        "the size of the coreset was 10,000 points",
        "run 30 times from k-means++ seeds",
        "The random seed was 0.",
        "Python 3.12.1",
    ):
        assert text in paragraph, text
    for name in ("lloyd", "coresets", "k-means++", "local search"):
        assert REFERENCES[name].title in references
    assert len(references.splitlines()) == 5
    for text in ("smooth", "blur", "merged", "ignored", "group", "pixel was", "mask", "file"):
        assert text not in paragraph, text


@pytest.mark.parametrize(
    ("options", "text", "names"),
    [
        ({"color_space": "lab"}, "CIELAB under D65", ["lab"]),
        ({"color_space": "hsv"}, "hue, saturation and value", ["hsv"]),
        ({"normalize": "zscore"}, "mean and standard deviation", []),
        ({"normalize": "percentile"}, "1st and 99th percentile", []),
        (
            {"blur": (2.0, 1.5)},
            "standard deviation of 2 \N{MULTIPLICATION SIGN} 1.5 pixels",
            ["blur"],
        ),
        ({"blur": 3.0, "texture": 2.0}, "local contrast .* weight of 2", ["blur"]),
        ({"position": 0.2}, "place of each pixel .* weight of 0.2", []),
        ({"smoothing": 1.5}, "Potts model .* strength 1.5", ["potts", "icm"]),
        ({"min_size": 1200}, "smaller than 1,200 pixels", []),
        ({"min_area": 2.5, "min_size_classes": (2, 3)}, "clusters 2, 3 smaller than 2.5", []),
        ({"smoothing": 1.0, "refits": 5}, "assigned and cleaned again, up to 5 times", ["hmrf"]),
        ({"min_confidence": 0.2}, "below 0.2 were left undecided", ["confidence"]),
        ({"balance": 0.5}, "balance = 0.5", []),
        ({"method": "full"}, "All pixels were used in the fit", []),
        ({"n_init": 1, "max_iter": 50}, "once from .*at most 50 iterations", []),
        ({"init": "random"}, "from random distinct points", []),
        ({"random_state": None}, "No random seed was set", []),
        ({"init": [[0] * 3] * 4}, "start colors were given, and Lloyd's algorithm", []),
        ({"init": [[0] * 3] * 4, "keep_init": True}, "these colors were the centers", []),
    ],
)
def test_option(options, text, names):
    paragraph, references = describe(**options)
    assert re.search(text, paragraph)
    for name in names:
        assert REFERENCES[name].title in references
        assert not REFERENCES[name].link or REFERENCES[name].link in references
    # It is stated for this option only.
    assert not re.search(text, describe()[0])


def test_gray_images_have_optimal_clusters():
    paragraph, references = describe(kind=GRAY)
    assert (
        "(20 \N{MULTIPLICATION SIGN} 512 \N{MULTIPLICATION SIGN} 384 pixels, uint16, one channel)"
        in paragraph
    )
    assert "optimal clusters of one channel" in paragraph
    assert REFERENCES["one dimension"].title in references
    for text in ("coreset", "k-means++", "seed"):
        assert text not in paragraph + references, text
    # With a texture, a pixel has two features.
    assert "coreset" in describe(kind=GRAY, blur=2.0, texture=1.0)[0]


def test_model_of_a_file_states_its_own_options_only():
    model = make_model(n_clusters=3, color_space="lab", smoothing=2.0)
    paragraph, _ = describe(model=model, study={"model": "models/H&E_1.json"}, blur=4.0)
    assert "A model of 3 clusters was taken from the file “H\\&E\\_1.json” and" in paragraph
    assert "its fit is not recorded" in paragraph
    assert "CIELAB" in paragraph
    assert "strength 2," in paragraph
    # How the model was fitted, and options of a fit that did not take place, are not known.
    for text in ("coreset", "seed", "times from", "K = ", "blur"):
        assert text not in paragraph, text


def test_a_given_model_states_its_fit():
    sources = ["/data/a1.tif", "C:\\b*.tif"]
    options = Options(n_clusters=3, color_space="lab", random_state=7, smoothing=5.0)
    model = make_model(
        n_clusters=3,
        color_space="lab",
        smoothing=2.0,
        fit=describe_fit(sources, options, 5000, 1234),
        classes=[
            {"label": 1, "name": "leaf", "centers": [0, 1], "ignored": False},
            {"label": 3, "name": "paper", "centers": [2], "ignored": True},
        ],
        splits=[{"n_new": 3}],
    )
    study = {"model": "/out/napari-kmeans-model.json"}
    images = [{"source": source} for source in reversed(sources)]
    # The image that failed was not in the fit.
    images.append({"source": "/data/c.tif", "status": "failed"})
    same, references = describe(3, model=model, study=study, images=images, n_clusters=9)
    for text in (
        "One model was fitted to all images together. The fit used at most 5,000 pixels",
        "K = 3",
        "all 1,234 distinct colors",
        "The random seed was 7.",
        "strength 2,",
        "1 class was clustered anew by itself, into 3 clusters.",
        "merged into 2 classes: class 1 “leaf” has 2 clusters, class 3 “paper” has 1 cluster.",
        "Pixels of class 3 “paper” were ignored",
    ):
        assert text in same, text
    assert REFERENCES["coresets"].title in references
    other, _ = describe(2, model=model, study=study, images=images[1:])
    assert "One model was fitted to 2 images (“a1.tif”, “b\\*.tif”) and applied to all" in other
    # Nothing is known of a model that was not fitted in a study.
    del model["fit"]
    unknown, _ = describe(3, model=model, study=study, images=images)
    assert "A model of 3 clusters was given and applied to all images; its fit is not" in unknown
    assert "seed" not in unknown


def test_the_test_of_the_groups_is_described():
    shares = {"a0": (20, 80), "a1": (30, 70), "a2": (40, 60), "a3": (55, 45), "a4": (6, 94)}
    table = pd.DataFrame(
        {"image": name, "class": label, "pixels": pixels}
        for name, counts in shares.items()
        for label, pixels in enumerate(counts, 1)
    )

    def describe_groups(groups):
        images = [{"name": name, "group": group} for name, group in zip(shares, groups)]  # noqa: B905
        record = {"model": make_model(), "options": {"n_clusters": 4}}
        record["images"] = [{"status": "done", **RGB, **each} for each in images]
        return describe_methods(record, table)

    two = describe_groups("xxyyy")
    # The share of one class is 100 % minus that of the other: this is one comparison.
    assert "Mann-Whitney U test (exact)" in two
    assert "One comparison was made." in two
    assert REFERENCES["mann-whitney"].link in two
    assert REFERENCES["welch"].link in two
    assert "Mann" not in describe_groups("xyyyy")
    table.loc[len(table)] = ("a0", 3, 9)
    three = describe_groups("xxyyy")
    assert "3 comparisons were made" in three
    table.loc[len(table)] = ("a5", 1, 9)
    shares["a5"] = (9,)
    assert REFERENCES["kruskal-wallis"].link in describe_groups("xxyyzz")


def test_markdown_is_removed():
    assert as_plain_text(r"a\_b *Science 3*, \*, \\*x*") == r"a_b Science 3, *, \x"


def test_channels_are_counted_where_they_have_no_names():
    paragraph, _ = describe(kind=MULTICHANNEL)
    assert "(512 \N{MULTIPLICATION SIGN} 384 pixels, uint16, 5 channels)" in paragraph
    assert "coreset" in paragraph
    own = [{"model": make_model(MULTICHANNEL)}] * 2
    assert "coreset" in describe(kind=MULTICHANNEL, model=None, images=own)[0]


def test_images_of_the_fit_and_own_models():
    study = {"fit_on": ["/data/a1.tif", "C:\\b*.tif"], "pixels_per_image": 50000}
    paragraph, _ = describe(study=study)
    assert "fitted to chosen images (“a1.tif”, “b\\*.tif”) and applied to all" in paragraph
    assert "at most 50,000 pixels of each image" in paragraph
    assert "chosen images and applied" in describe(study={"fit_on": list("abcdefg")})[0]
    assert "with a model of its own" in describe(model=None, study={"each": True})[0]
    assert "tile of 256 pixels per side" in describe(study={"grid": 256})[0]


def test_the_program_is_cited_as_in_the_citation_file():
    text = (Path(__file__).parents[2] / "CITATION.cff").read_text("utf-8")
    own = text.partition("\nreferences:\n")[0]
    (title,), authors = (
        re.findall(rf"^{key}(.+)$", own, re.M) for key in ("title: ", "  - name: ")
    )
    _, references = describe()
    # The version is that of the record.
    (year,) = re.findall(r"^date-released: (\d{4})", own, re.M)
    expected = f"1. {', '.join(authors)}, “{title}”, version {__version__}, {year}."
    assert describe()[1].splitlines()[0] == expected
    # The year of another version is not known.
    _, references = describe(version="0.1.0")
    expected = f"1. {', '.join(authors)}, “{title}”, version 0.1.0."
    assert references.splitlines()[0] == expected
    record = {"images": [{"name": "a", **RGB}], "options": {"n_clusters": 2}}
    assert f"1. {', '.join(authors)}, “{title}”.\n" in describe_methods(record)


def test_named_classes_are_stated_beside_merged_ones():
    centers = {"lesion": [4], "leaf": [0, 1, 2], "": [3], "background": [5, 6]}
    classes = [
        {"label": label, "name": name, "centers": own, "ignored": False}
        for label, (name, own) in enumerate(centers.items(), 1)
    ]
    paragraph, _ = describe(model=make_model(n_clusters=7, classes=classes))
    assert (
        "merged into 4 classes: class 1 “lesion” has 1 cluster, class 2 “leaf” has 3 clusters, "
        "class 4 “background” has 2 clusters."
    ) in paragraph


@pytest.mark.parametrize(
    ("units", "model", "text"),
    [
        (["mm²", "mm²"], {"min_area": 4e6}, "smaller than 4 mm² were given"),
        (["mm³", "mm³"], {"min_area": 2e9}, "smaller than 2 mm³ were given"),
        (["mm²", "mm²"], None, "smaller than 4 mm² were given"),
        (["mm²", "nm²"], None, "smaller than 4 squared (in volumes: cubed) units of the pixel"),
        ([None, None], {"min_area": 4.0}, "smaller than 4 squared (in volumes: cubed) units"),
    ],
)
def test_the_minimum_area_has_the_unit_of_the_pixel_sizes(units, model, text):
    images = [{"pixel_size": {"value": 0.04, "unit": unit} if unit else None} for unit in units]
    # A model has its area in µm² if its images have a pixel size.
    own = model and make_model(**model)
    assert text in describe(images=images, min_area=4.0, model=own)[0]


def test_classes_groups_and_pixel_sizes():
    model = make_model(
        classes=[
            {"label": 1, "name": "a_b", "centers": [0, 2], "ignored": False},
            {"label": 2, "name": "", "centers": [1], "ignored": True},
            {"label": 4, "name": "", "centers": [3], "ignored": True},
        ]
    )
    images = [
        {"group": "x", "pixel_size": {"value": 0.25, "unit": "µm²"}},
        {"group": "x", "pixel_size": {"value": 0.5, "unit": "µm²"}},
        {"group": "y", "pixel_size": None},
        {"status": "failed"},
    ]
    study = {"mask": "/data/masks", "regions": "/data/regions"}
    paragraph, _ = describe(4, model=model, images=images, study=study)
    for text in (
        "3 images (",
        "1 image of 4 could not be processed",
        "merged into 3 classes: class 1 “a\\_b” has 2 clusters.",
        "Pixels of class 2 and class 4 were ignored",
        "The size of a pixel was 0.25 to 0.5 µm²; 1 image stated none.",
        "2 groups: “x” (n = 2), “y” (n = 1)",
        "outside the masks",
        "in each region",
    ):
        assert text in paragraph, text


def test_images_of_an_earlier_call_with_other_versions_are_counted():
    calls = [
        {"images": 1, "other_versions": {"python": "3.11.0", "numpy": "2.0.0", "zarr": "3.1"}},
        {"images": 0, "other_versions": {"numpy": "1.26"}},
        {"images": 1, "other_versions": {}},
    ]
    image = {"name": "a", "status": "done", **RGB}
    record = {
        **{"versions": {"python": "3.12.1"}, "study": {}, "options": {"n_clusters": 4}},
        **{"model": make_model(RGB), "images": [image, image], "calls": calls},
    }
    assert (
        "The software was Python 3.12.1. "
        "1 image was segmented with Python 3.11.0 and numpy 2.0.0 instead.\n"
    ) in describe_methods(record)


def test_nothing_is_claimed_if_all_images_failed():
    paragraph, references = describe(images=[{"status": "failed"}] * 2, smoothing=1.0)
    expected = (
        "No image was segmented with napari-kmeans 0.1.1. 2 images of 2 could not be processed"
    )
    assert paragraph.startswith(expected)
    assert "smooth" not in paragraph
    assert not references
