"""Describe a study in a paragraph for the methods section of a paper."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from napari_kmeans.batch.fitting import MAX_LISTED, hash_sources, last_part
from napari_kmeans.batch.problems import (
    FAR_COLORS,
    NOT_COUNTED,
    OTHER_UNITS,
    recorded_problems,
)
from napari_kmeans.batch.references import PROGRAM, ReferenceList
from napari_kmeans.batch.result_files import SHARED_MODEL
from napari_kmeans.batch.shares import (
    compare_classes,
    count_tests,
    describe_undecided,
    find_undecided,
    tally_shares,
)
from napari_kmeans.batch.study_record import known_options
from napari_kmeans.files.units import size_factor
from napari_kmeans.options import AUTO, Options

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import pandas as pd

_NAMED_PACKAGES = ("numpy", "scipy", "scikit-learn", "scikit-image", "numba", "dask", "napari")
"""The packages whose versions the paragraph states, if the record has them. The report lists all
versions of the record."""

_TIMES = " \N{MULTIPLICATION SIGN} "

_MAX_COLORS = 262_144
"""The number of distinct colors up to which all colors are clustered: see `segment`."""


def describe_methods(record: Mapping[str, Any], table: pd.DataFrame | None = None) -> str:
    """Return a paragraph about a study and the list of its references.

    Parameters
    ----------
    record : mapping
        The record of a run, as it is in ``napari-kmeans-run.json``.
    table : pandas.DataFrame, optional
        The table of measurements, to state the test of the groups in the report.

    Returns
    -------
    str
        Markdown. The paragraph states only what the record contains. References are
        those of the options that were used, in the order of the text.
    """
    study = _Study(record)
    references = ReferenceList(study.version)
    if not study.images:
        return " ".join(_describe_images(study, references)) + "\n"
    sentences = [
        *_describe_images(study, references),
        *_describe_points(study, references),
        *_describe_model(study),
        *_describe_fit(study, references),
        *_describe_cleaning(study, references, table),
        *_describe_classes(study),
        *_describe_measurements(study),
        *_describe_test(study, table, references),
        *_describe_software(study, references),
    ]
    return "\n\n".join([" ".join(sentences), "\n".join(references.lines())]) + "\n"


@dataclass(frozen=True)
class _Study:
    """The entries of a record that the paragraph needs."""

    record: Mapping[str, Any]
    images: list[Mapping[str, Any]] = field(init=False)
    """The images that were segmented."""

    def __post_init__(self) -> None:
        done = [each for each in self.all_images if each.get("status") != "failed"]
        object.__setattr__(self, "images", done)

    @property
    def all_images(self) -> list[Mapping[str, Any]]:
        return list(self.record.get("images") or [])

    @property
    def version(self) -> str:
        """The version of this package; "" if it is not known."""
        return str((self.record.get("versions") or {}).get(PROGRAM, ""))

    @property
    def plan(self) -> Mapping[str, Any]:
        """The study file as plain values."""
        return self.record.get("study") or {}

    @property
    def model(self) -> Mapping[str, Any]:
        """The model of all images; empty if each image has its own."""
        return self.record.get("model") or {}

    @property
    def is_loaded(self) -> bool:
        """Whether the model was given instead of fitted in this run."""
        return bool(self.plan.get("model"))

    @property
    def fit(self) -> Mapping[str, Any]:
        """How a model that was given was fitted; empty if it is not known."""
        return self.model.get("fit") or {}

    @property
    def is_fit_unknown(self) -> bool:
        """Whether the model was given without a description of its fit."""
        return self.is_loaded and not self.fit

    @property
    def is_fitted_to_images(self) -> bool:
        """Whether a model that was given was fitted to exactly the images of the study."""
        return any(
            self.fit.get("sources") == hash_sources([str(each.get("source")) for each in images])
            for images in (self.images, self.all_images)
        )

    @property
    def n_colors(self) -> int | None:
        """The number of distinct colors in the fit, if they were counted."""
        number = (self.fit if self.is_loaded else self.record).get("n_colors")
        return None if number is None else int(number)

    @property
    def pixels_per_image(self) -> int:
        """The most pixels of each image in the fit; 0 for all."""
        return int((self.fit if self.is_loaded else self.plan).get("pixels_per_image") or 0)

    @cached_property
    def options(self) -> Options:
        """The options that were used."""
        return Options(**known_options(self.record))

    @property
    def has_one_feature(self) -> bool:
        """Whether pixels have one feature, so that the optimum is computed."""
        n_channels = {self.count_channels(each) for each in self.images}
        return n_channels == {1} and not (self.options.texture or self.options.position)

    def count_channels(self, image: Mapping[str, Any]) -> int:
        """Return the number of channels that are compared: that of the model of an image."""
        model = self.model or image.get("model") or {}
        if "palette" in model:
            return len(model["palette"][0])
        return 3 if image.get("rgb") else len(image.get("channels") or ()) or 1


def _describe_images(study: _Study, references: ReferenceList) -> Iterable[str]:
    program = f"{PROGRAM} {study.version}" if study.version else PROGRAM
    n_images = len(study.images)
    if not n_images:
        yield f"No image was segmented with {program}."
    else:
        kinds = Counter(_describe_kind(each, study.count_channels(each)) for each in study.images)
        kind = next(iter(kinds)) if len(kinds) == 1 else _list_kinds(kinds)
        yield (
            f"{_count(n_images, 'image')} ({kind}) {_was(n_images)} segmented with {program} "
            f"{references.cite(PROGRAM)} by K-means clustering of pixel "
            f"{'values' if study.has_one_feature else 'colors'} {references.cite('lloyd')}."
        )
    if n_failed := len(study.all_images) - n_images:
        yield (
            f"{_count(n_failed, 'image')} of {len(study.all_images)} could not be processed and "
            f"{_was(n_failed)} excluded."
        )
    problems = list(recorded_problems(study.images).values())
    if n_far := sum(FAR_COLORS in each for each in problems):
        # This module imports numba, which would slow down the start of the command line.
        from napari_kmeans.imaging.far_colors import FAR

        yield (
            f"In {_count(n_far, 'image')}, at least {100 * FAR:.0f} % of the pixels were "
            "farther from their class than this class is from the next one; "
            f"{'it counts' if n_far == 1 else 'they count'} in the means."
        )
    if n_other := sum(OTHER_UNITS in each for each in problems):
        yield (
            f"{_count(n_other, 'image')} had values in other units than the model, and "
            f"{'counts' if n_other == 1 else 'count'} in the means."
        )
    if n_empty := sum(NOT_COUNTED in each for each in problems):
        yield f"{_count(n_empty, 'image')} had no counted pixel and no shares."


def _describe_kind(image: Mapping[str, Any], n_channels: int) -> str:
    """Return the shape of an image without its channels, its dtype and its channels."""
    shape, axes = list(image.get("shape") or ()), image.get("axes") or []
    if image.get("rgb"):
        kind, shape = "RGB", shape[:-1]
    else:
        kind = "one channel" if n_channels == 1 else f"{n_channels} channels"
        if len(axes) == len(shape):
            # An axis is its name, its kind, its unit, its scale and its translation.
            pairs = zip(shape, axes, strict=True)
            shape = [length for length, axis in pairs if axis[1] != "channel"]
    size = f"{_TIMES.join(map(str, shape))} pixels" if shape else ""
    return ", ".join(text for text in (size, str(image.get("dtype") or ""), kind) if text)


def _list_kinds(kinds: Counter[str]) -> str:
    if len(kinds) > 3:
        return f"{len(kinds)} different combinations of shape, dtype and channels"
    return "; ".join(f"{number} of {kind}" for kind, number in kinds.most_common())


def _describe_points(study: _Study, references: ReferenceList) -> Iterable[str]:
    options = study.options
    if options.color_space == "lab":
        yield f"Colors were compared in CIELAB under D65 {references.cite('lab')}."
    elif options.color_space == "hsv":
        cone = "as points of the cone of hue, saturation and value (HSV)"
        yield f"Colors were compared {cone} {references.cite('hsv')}."
    else:
        yield "Pixels were compared by their channel values (squared Euclidean distance)."
    if options.normalize == "zscore":
        yield "Each channel was first scaled by its mean and standard deviation over all pixels."
    elif options.normalize == "percentile":
        yield "Each channel was first scaled by its 1st and 99th percentile."
    if _is_used(options.blur):
        yield (
            f"The compared values were blurred by a Gaussian with a standard deviation of "
            f"{_numbers(options.blur)} pixels, normalized where pixels were left out "
            f"{references.cite('blur')}."
        )
    if options.texture:
        yield (
            "The local contrast of each channel in the same window was compared beside its value, "
            f"with a weight of {options.texture:g}."
        )
    if options.position:
        yield (
            "The place of each pixel was compared beside its color, with a weight of "
            f"{options.position:g} (1: the length of the longest axis counts as much as the full "
            "range of a channel)."
        )


def _describe_model(study: _Study) -> Iterable[str]:
    if study.is_fit_unknown:
        name = last_part(str(study.plan["model"]))
        # A model of the list of clusters is written to a file of this name.
        came = "was given" if name == SHARED_MODEL else f"was taken from the file {_quote(name)}"
        counted = _count(len(study.model["cluster_centers"]), "cluster")
        yield f"A model of {counted} {came} and applied to all images; its fit is not recorded."
    elif study.is_loaded and not study.is_fitted_to_images:
        number = study.fit["n_images"]
        named = _list_names(study.fit["images"], number)
        yield f"One model was fitted to {_count(number, 'image')}{named} and applied to all images."
    elif not study.model:
        yield "Each image was clustered by itself, with a model of its own."
    elif chosen := study.plan.get("fit_on"):
        named = _list_names([last_part(str(each)) for each in chosen], len(chosen))
        yield f"One model was fitted to chosen images{named} and applied to all images."
    else:
        yield "One model was fitted to all images together."
    if n_pixels := study.pixels_per_image:
        yield f"The fit used at most {n_pixels:,} pixels of each image, on a regular grid."


def _list_names(names: Sequence[str], number: int) -> str:
    """Return names in parentheses, or nothing if there are more than `MAX_LISTED`."""
    return f" ({', '.join(map(_quote, names))})" if number <= MAX_LISTED else ""


def _describe_fit(study: _Study, references: ReferenceList) -> Iterable[str]:
    """Describe how the centers were found, if it is known."""
    options = study.options
    if study.is_fit_unknown:
        return
    number = f"The number of clusters was K = {options.n_clusters}"
    if not isinstance(options.init, str):
        kept = (
            "these colors were the centers, and each pixel was assigned to the nearest"
            if options.keep_init
            else f"and Lloyd's algorithm started from them {references.cite('lloyd')}"
        )
        yield f"{number}; the start colors were given, {kept}."
        return
    if study.has_one_feature:
        source = references.cite("one dimension", "fast one dimension")
        yield f"{number}; the optimal clusters of one channel were computed {source}."
        yield from _describe_weights(options)
        return
    yield f"{number}. {_describe_summary(study, references)}"
    yield _describe_restarts(options, references)
    yield from _describe_weights(options)
    seed = options.random_state
    yield "No random seed was set." if seed is None else f"The random seed was {seed}."


def _describe_summary(study: _Study, references: ReferenceList) -> str:
    options, n_colors = study.options, study.n_colors
    size = f"{options.resolved_coreset_size:,} points"
    if options.method == "full":
        return f"All pixels were used in the fit, whose starts were compared on samples of {size}."
    is_pointwise = not (_is_used(options.blur) or options.position)
    if n_colors is not None:
        uses_all = n_colors <= _MAX_COLORS
        end = f", and the fit continued on all {n_colors:,} distinct colors" if uses_all else ""
        pixels = "the pixels" if uses_all else f"all pixels, which had {n_colors:,} distinct colors"
    else:
        may_continue = options.coreset_size == AUTO and is_pointwise
        end = f", and the fit continued on all colors if there were at most {_MAX_COLORS:,}"
        pixels, end = "all pixels", end if may_continue else ""
    return (
        f"The centers were fitted with the coreset method {references.cite('coresets')}, in which "
        f"weighted points represent {pixels}; the size of the coreset was {size}{end}."
    )


def _describe_restarts(options: Options, references: ReferenceList) -> str:
    seeds = (
        f"k-means++ seeds {references.cite('k-means++')}"
        if options.init == "k-means++"
        else "random distinct points"
    )
    number = options.resolved_n_init
    if number == 1:
        start = f"Lloyd's algorithm was run once from {seeds}"
    else:
        start = (
            f"Lloyd's algorithm was run {number} times from {seeds}, and the best runs were "
            f"improved by a local search {references.cite('local search')}"
        )
    return f"{start} (at most {options.max_iter} iterations, tolerance {options.tol:g})."


def _describe_weights(options: Options) -> Iterable[str]:
    if options.balance:
        yield (
            f"Rare colors had a larger weight (balance = {options.balance:g}; 0: every pixel "
            "counts the same, 1: every cell of color space counts the same)."
        )


def _describe_cleaning(
    study: _Study, references: ReferenceList, table: pd.DataFrame | None
) -> Iterable[str]:
    options = study.options
    if options.smoothing:
        yield (
            f"Labels were smoothed with a Potts model {references.cite('potts')} of strength "
            f"{options.smoothing:g}, whose energy was lowered by iterated conditional modes "
            f"{references.cite('icm')}."
        )
    sizes = [
        text
        for text in (
            f"{options.min_size:,} pixels" if options.min_size else "",
            _describe_area(study) if options.min_area else "",
        )
        if text
    ]
    if sizes:
        chosen = options.min_size_classes
        of = f" of the clusters {', '.join(map(str, chosen))}" if chosen else ""
        yield (
            f"Connected regions{of} smaller than {' or '.join(sizes)} were given the class that "
            "surrounds them."
        )
    if options.refits and (options.smoothing or sizes):
        yield (
            "Then the centers moved to the mean colors of the classes, and pixels were assigned "
            f"and cleaned again, up to {_count(options.refits, 'time')} {references.cite('hmrf')}."
        )
    if options.min_confidence:
        energies = ", with the energies of the Potts model as squared distances"
        yield (
            "Pixels whose confidence in their class (simplified silhouette "
            f"{references.cite('confidence')}{energies if options.smoothing else ''}) was below "
            f"{options.min_confidence:g} were left undecided and did not count."
        )
        undecided = {} if table is None else find_undecided(table)
        if undecided:
            yield f"The undecided pixels were {_escape(describe_undecided(undecided))}."


def _describe_area(study: _Study) -> str:
    """Return the minimum area with the unit of the pixel sizes, if all images have the same."""
    units = {str((each.get("pixel_size") or {}).get("unit", "")) for each in study.images}
    area, unit = study.options.min_area, units.pop() if len(units) == 1 else ""
    if unit and study.model.get("min_area"):
        # A model has its area in micrometers, also that of a fit to images in another unit.
        factor = size_factor(f"µm{unit[-1]}", unit)
        area, unit = (study.model["min_area"] * factor, unit) if factor else (area, "")
    return f"{area:g} {unit or 'squared (in volumes: cubed) units of the pixel size'}"


def _describe_classes(study: _Study) -> Iterable[str]:
    classes = study.model.get("classes") or []
    if splits := study.model.get("splits"):
        numbers = _join([str(split["n_new"]) for split in splits])
        yield (
            f"{_count(len(splits), 'class', 'classes')} {_was(len(splits))} clustered anew by "
            f"{'itself' if len(splits) == 1 else 'themselves'}, into {numbers} clusters."
        )
    if any(len(each["centers"]) > 1 for each in classes):
        listed = [each for each in classes if len(each["centers"]) > 1 or each.get("name")]
        counts = [
            f"{_name_class(each)} has {_count(len(each['centers']), 'cluster')}" for each in listed
        ]
        yield (
            f"The clusters were merged into {_count(len(classes), 'class', 'classes')}: "
            f"{', '.join(counts)}."
        )
    ignored = [_name_class(each) for each in classes if each.get("ignored")]
    if ignored:
        yield f"Pixels of {_join(ignored)} were ignored: they did not count in shares."


def _describe_measurements(study: _Study) -> Iterable[str]:
    if study.plan.get("mask"):
        yield "Pixels outside the masks were left out."
    side = study.plan.get("grid")
    regions = f" in each square tile of {side:,} pixels per side" if side else ""
    regions = " in each region" if study.plan.get("regions") else regions
    yield f"The share of a class is its percentage of the counted pixels{regions} of an image."
    yield from _describe_pixel_sizes([each.get("pixel_size") for each in study.images])
    groups = Counter(str(each["group"]) for each in study.images if each.get("group") is not None)
    if 0 < len(groups) <= MAX_LISTED:
        listed = ", ".join(f"{_quote(name)} (n = {number})" for name, number in groups.items())
        yield f"The images belong to {_count(len(groups), 'group')}: {listed}."
    elif groups:
        yield f"The images belong to {len(groups)} groups."


def _describe_test(
    study: _Study, table: pd.DataFrame | None, references: ReferenceList
) -> Iterable[str]:
    """Describe the comparison of the groups that the report contains."""
    if table is None or not study.model:
        return
    shares = tally_shares(table, study.all_images)
    compared = compare_classes(shares)
    tests = [test for test in compared.values() if test is not None]
    if not tests:
        return
    if tests[0].difference is None:
        source = references.cite("kruskal-wallis")
        yield (
            "The shares of the groups were compared by the Kruskal-Wallis test (chi-squared "
            f"approximation) {source}, with the image as the unit."
        )
    else:
        kinds = {test.method for test in tests}
        kind = {"exact": "exact", "normal": "normal approximation"}
        named = " or ".join(kind[each] for each in sorted(kinds))
        source = references.cite("mann-whitney")
        yield (
            f"The shares of the groups were compared by the two-sided Mann-Whitney U test ({named})"
            f" {source}, with the image as the unit. The differences of the means have 95 % "
            f"confidence intervals after Welch {references.cite('welch')}."
        )
    number = count_tests(compared)
    if number > 1:
        yield f"{number} comparisons were made, and p values were not corrected for their number."
    else:
        yield "One comparison was made."


def _describe_pixel_sizes(sizes: Sequence[Mapping[str, Any] | None]) -> Iterable[str]:
    stated = [size for size in sizes if size]
    if not stated:
        return
    units = sorted({str(size["unit"]) for size in stated})
    texts = []
    for unit in units:
        values = [float(size["value"]) for size in stated if size["unit"] == unit]
        low, high = f"{min(values):.4g}", f"{max(values):.4g}"
        texts.append(f"{low} {unit}" if low == high else f"{low} to {high} {unit}")
    missing = len(sizes) - len(stated)
    note = f"; {_count(missing, 'image')} stated none" if missing else ""
    yield f"The size of a pixel was {' and '.join(texts)}{note}."


def _describe_software(study: _Study, references: ReferenceList) -> Iterable[str]:
    versions = dict(study.record.get("versions") or {})
    python = [f"Python {versions['python']}"] if "python" in versions else []
    named = [
        f"{name} {versions[name]}"
        + (f" {references.cite(name)}" if name in ("napari", "scikit-learn") else "")
        for name in _NAMED_PACKAGES
        if name in versions
    ]
    if python or named:
        yield f"The software was {_join([*python, *named])}."
    for call in study.record.get("calls") or ():
        others = call.get("other_versions") or {}
        names = [name for name in ("python", *_NAMED_PACKAGES) if name in others]
        texts = [f"{name.replace('python', 'Python')} {others[name]}" for name in names]
        if texts and call["images"]:
            counted = _count(call["images"], "image")
            yield f"{counted} {_was(call['images'])} segmented with {_join(texts)} instead."


# -------------------------------------------------------------------- words


def _name_class(each: Mapping[str, Any]) -> str:
    name = f" {_quote(each['name'])}" if each.get("name") else ""
    return f"class {each['label']}{name}"


def _count(number: int, singular: str, plural: str = "") -> str:
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def _was(number: int) -> str:
    return "was" if number == 1 else "were"


def _join(texts: Sequence[str]) -> str:
    """Return texts with commas between them, and "and" before the last."""
    return " and ".join([", ".join(texts[:-1]), texts[-1]] if len(texts) > 1 else texts)


def _is_used(value: Any) -> bool:
    return any(value) if isinstance(value, tuple) else bool(value)


def _numbers(value: Any) -> str:
    values = value if isinstance(value, tuple) else (value,)
    return _TIMES.join(f"{number:g}" for number in values)


def _quote(name: str) -> str:
    return f"“{_escape(name)}”"


_SPECIAL = r"[\\`*_\[\]<>#|~&]"
"""Characters that Markdown does not show as they are."""


def _escape(text: str) -> str:
    """Return a name on one line, so that Markdown shows its characters as they are."""
    return re.sub(f"({_SPECIAL})", r"\\\1", " ".join(text.split()))


def as_plain_text(text: str) -> str:
    """Return a text of `describe_methods` without the marks of Markdown."""
    without_emphasis = re.sub(r"(?<!\\)((?:\\\\)*)\*", r"\1", text)
    return re.sub(rf"\\({_SPECIAL})", r"\1", without_emphasis)
