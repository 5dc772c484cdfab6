# ruff: noqa: RUF009 - `_entry` declares a field of a dataclass
"""A study: the images, the model, the classes and the outputs of a batch, in one YAML file."""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_kmeans.batch.pixel_size import check_spacing
from napari_kmeans.batch.study_kinds import (
    DEFAULT_OUTPUTS,
    OUTPUTS,
    ClassEdits,
    FitOptions,
    LengthUnit,
    NamedTexts,
    OutputList,
    Text,
    TextList,
    suggest,
)
from napari_kmeans.checks import (
    Choice,
    Flag,
    WholeNumber,
    check_path,
    quote_value,
)
from napari_kmeans.files.atomic import write_whole
from napari_kmeans.files.errors import reason
from napari_kmeans.options import (
    NumberPerAxis,
    Options,
)
from napari_kmeans.samples import SAMPLES

if TYPE_CHECKING:
    from typing import Self

MAX_BYTES = 2**24
"""The largest study file that is read, 16 MiB: a list of 100,000 long paths."""


NO_IMAGES = "images must name an image, got none: write images or groups."


class StudyError(ValueError):
    """A study that cannot be run. The message has one sentence per mistake, on lines."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


def _entry(kind: Any, help_text: str, default: Any = None) -> Any:
    """Declare an entry of a study: its kind, and its help in the documentation and in --help."""
    metadata = {"kind": kind, "help": help_text, "default": default}
    if isinstance(default, dict):
        return field(default_factory=dict, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True, eq=False)
class Study:
    """The images of a study, the model, the classes, and what is written.

    Paths are relative to `folder`, and may have wildcards. Every attribute is an entry of the
    study file.

    Raises
    ------
    StudyError
        If an entry has the wrong kind, or if entries contradict each other.
    """

    images: tuple[str, ...] = _entry(
        TextList(), "Image files, zarr directories, folders, or names with wildcards.", ()
    )
    groups: dict[str, tuple[str, ...]] = _entry(
        NamedTexts(),
        "Groups of images by name, each with files, folders or names with wildcards.",
        {},
    )
    metadata: str | None = _entry(
        Text(), 'A pattern of file names, such as "{patient}_{stain}.tif": its words are columns.'
    )
    metadata_file: str | None = _entry(
        Text(),
        "A CSV file with a row per image, whose columns join the table. A column group makes "
        "groups that the report compares.",
    )
    sample: str | None = _entry(Choice(tuple(SAMPLES)), "A sample image, which is clustered, too.")
    recursive: bool = _entry(Flag(), "Whether the subfolders of folders are searched.", False)
    series: str | None = _entry(Text(), "The number or name of the image in each file, or all.")
    channel_axis: str | None = _entry(
        Text(), "The number or name of the axis of channels, where the file does not state it."
    )
    channels: tuple[str, ...] = _entry(
        TextList(has_commas=True), "The numbers or names of the channels to cluster.", ()
    )
    spacing: Any = _entry(
        NumberPerAxis(0.0, 1e9),
        "The distance of neighboring pixels, one number or one per axis, in the unit that unit "
        "states; without it in that of the file, or in micrometers if the file states none.",
    )
    unit: str | None = _entry(
        LengthUnit(),
        "The unit of length of the pixel size, such as mm: that of spacing, whose square (in "
        "volumes the cube) is the unit of the minimum area and of the areas in tables. Without "
        "it, that of each file, or micrometers if a file states none.",
    )
    mask: str | None = _entry(
        Text(), "A folder of masks named as the images; for one image, a file."
    )
    regions: str | None = _entry(
        Text(), "A folder of label images named as the images: the regions that are measured."
    )
    grid: int | None = _entry(
        WholeNumber(1, 2**31, (None,)), "The side of square tiles in pixels, measured as regions."
    )
    values: dict[str, tuple[str, ...]] = _entry(
        NamedTexts(),
        "Further images to measure, by name: folders of files named as the images.",
        {},
    )
    model: str | None = _entry(Text(), "A saved model that is applied; nothing is fitted then.")
    fit: dict[str, Any] = _entry(FitOptions(), "The options of the fit, as those of segment.", {})
    fit_on: tuple[str, ...] = _entry(
        TextList(), "The images that the model is fitted to; all if it is left out.", ()
    )
    each: bool = _entry(Flag(), "Whether each image gets a model of its own.", False)
    pixels_per_image: int = _entry(
        WholeNumber(0, 2**40),
        "The most pixels of an image that the fit reads, on a grid, so that large images do not "
        "dominate; 0 for all.",
        0,
    )
    classes: dict[int, dict[str, Any]] = _entry(
        ClassEdits(), "Names, colors and merges of the classes, by their labels.", {}
    )
    slices: bool = _entry(
        Flag(), "Whether the table has a row for each slice and frame of a stack.", False
    )
    medians: bool = _entry(Flag(), "Whether the table has medians.", True)
    confidence: bool = _entry(Flag(), "Whether the table has the mean confidence.", False)
    output: str | None = _entry(Text(), "The folder of the results.")
    outputs: tuple[str, ...] = _entry(
        OutputList(), f"What is written: {', '.join(OUTPUTS)}.", DEFAULT_OUTPUTS
    )
    folder: Path = field(default_factory=Path.cwd)

    def __post_init__(self) -> None:
        """Check every entry, and the entries together."""
        mistakes = []
        for name, info in ENTRIES.items():
            value = getattr(self, name)
            try:
                if value is None and info["default"] is None:
                    continue
                object.__setattr__(self, name, info["kind"].check(name, value))
            except (TypeError, ValueError) as error:
                mistakes.append(str(error))
        if not mistakes:
            mistakes = self._find_contradictions()
        if mistakes:
            raise StudyError(mistakes)

    def _find_contradictions(self) -> list[str]:
        mistakes = []
        if not self.images and not self.groups and self.sample is None:
            mistakes.append(NO_IMAGES)
        for name in ("fit", "fit_on", "each", "pixels_per_image"):
            if self.model is not None and getattr(self, name):
                mistakes.append(f"model must go without {name}, got {self.model}: leave one out.")
        if self.spacing is not None:
            try:
                check_spacing(self.spacing)
            except ValueError as error:
                mistakes.append(str(error))
        for name, places in self.values.items():
            if len(places) != 1:
                mistakes.append(
                    f"values: {name} must be one folder, got {len(places)}: give each its own name."
                )
        if self.each and self.fit_on:
            mistakes.append(
                "each must go without fit_on, got both: each image is fitted to itself."
            )
        if self.regions is not None and self.grid is not None:
            mistakes.append(f"regions must go without grid, got grid {self.grid}: leave one out.")
        if self.pixels_per_image and (self.fit.get("blur") or self.fit.get("position")):
            mistakes.append(
                "pixels_per_image must be 0 with blur, texture or position, got "
                f"{self.pixels_per_image}: neighboring pixels are needed."
            )
        return mistakes

    @property
    def options(self) -> Options:
        """The options of the fit."""
        return Options(**self.fit)

    @property
    def patterns(self) -> tuple[str, ...]:
        """The paths of all images, also of the groups."""
        return tuple(
            dict.fromkeys(
                [*self.images, *(each for group in self.groups.values() for each in group)]
            )
        )

    def path(self, text: str) -> Path:
        """Return a path of the study, relative paths from its folder."""
        return self.folder / text

    def pattern(self, text: str) -> Path:
        """Return a path that may have wildcards. Brackets in the names of folders are none."""
        path = self.folder / text
        if not glob.has_magic(text) or Path(text).is_absolute() or os.path.lexists(path):
            return path
        return Path(glob.escape(str(self.folder))) / text

    def at(self, folder: Path) -> Study:
        """Return the same study with absolute paths: it can be run from any folder."""

        # Without `os.path.abspath`, which removes ".." also behind a link.
        def one(text: str | None) -> str | None:
            return None if text is None else str(self.path(text).absolute())

        def each_of(texts: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(str(self.pattern(text).absolute()) for text in texts)

        return replace(
            self,
            folder=folder,
            images=each_of(self.images),
            groups={name: each_of(texts) for name, texts in self.groups.items()},
            values={name: each_of(texts) for name, texts in self.values.items()},
            fit_on=each_of(self.fit_on),
            metadata_file=one(self.metadata_file),
            mask=one(self.mask),
            regions=one(self.regions),
            model=one(self.model),
            output=one(self.output),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the entries that are not the defaults, as plain values."""
        return {
            name: _plain(getattr(self, name))
            for name, info in ENTRIES.items()
            if getattr(self, name) != info["default"]
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the study to a YAML file, whole or not at all.

        The paths are written as they are: relative paths should be relative to the file.
        """
        import yaml

        text = yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True)
        write_whole({check_path("path", path): lambda place: place.write_text(text, "utf-8")})

    @classmethod
    def from_dict(cls, values: Any, folder: str | os.PathLike[str] = ".") -> Self:
        """Return the study of a mapping, with paths relative to a folder.

        Raises
        ------
        StudyError
            If the mapping has unknown or wrong entries: one sentence for each.
        """
        if not isinstance(values, Mapping):
            raise StudyError(
                [f"a study must be a mapping of entries, got {quote_value(values)}: write images."]
            )
        unknown = [
            f"{key} is no entry of a study: {suggest(key, ENTRIES)}."
            for key in values
            if key not in ENTRIES
        ]
        known = {str(key): value for key, value in values.items() if key in ENTRIES}
        # An entry without a value is one that is left out.
        given = {key: value for key, value in known.items() if value is not None}
        try:
            study = cls(**given, folder=Path(folder))
        except StudyError as error:
            # An entry with a wrong name is not missing, too.
            mistakes = [each for each in error.mistakes if not (unknown and each == NO_IMAGES)]
            raise StudyError(unknown + mistakes) from None
        if unknown:
            raise StudyError(unknown)
        return study

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a study from a YAML file; its paths are relative to the folder of the file.

        Raises
        ------
        StudyError
            If the file cannot be read, is no YAML or has wrong entries.
        """
        import yaml

        place = check_path("path", path)
        try:
            if place.stat().st_size > MAX_BYTES:
                raise StudyError([f"{place} must be a study of at most 16 MiB: list fewer paths."])
            values = _load_yaml(place.read_text("utf-8-sig"))
        except UnicodeDecodeError as error:
            raise StudyError(
                [f"{place} must be in UTF-8, got bytes of another encoding: save it in UTF-8."]
            ) from error
        except OSError as error:
            raise StudyError([f"{place} cannot be read: {reason(error)}."]) from error
        except StudyError:
            raise
        except (yaml.YAMLError, ValueError, RecursionError, LookupError, TypeError) as error:
            # The constructors of YAML raise errors of many types.
            raise StudyError([f"{place} is no YAML: {_describe_yaml_error(error)}."]) from error
        return cls.from_dict(values, place.absolute().parent)


ENTRIES: dict[str, Mapping[str, Any]] = {
    each.name: each.metadata for each in fields(Study) if each.metadata
}
"""The entries of a study file: their kinds and their help."""


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


def _load_yaml(text: str) -> Any:
    """Return plain values; an entry that is there twice is an error, as YAML 1.2 demands.

    PyYAML takes the last of them.
    """
    import yaml

    class Loader(yaml.SafeLoader):  # type: ignore[misc]
        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            seen = set()
            for key, _ in node.value:
                if isinstance(key, yaml.ScalarNode) and key.value in seen:
                    problem = f"the entry {key.value} is there twice"
                    raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
                seen.add(key.value if isinstance(key, yaml.ScalarNode) else key)
            return super().construct_mapping(node, deep)

    return yaml.load(text, Loader)


def _describe_yaml_error(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or reason(error)
    if mark is None:
        return str(problem)
    hint = "; put a text with { or : into quotes" if "expected" in str(problem) else ""
    return f"{problem} in line {mark.line + 1}{hint}"
