"""Match a model with the channels of an image."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from napari_kmeans.batch.channels import find_channels
from napari_kmeans.batch.kinds import name_kind
from napari_kmeans.batch.picture_options import channel_names_of
from napari_kmeans.batch.reporting import tell

if TYPE_CHECKING:
    from napari_kmeans.batch.image_job import ImageJob
    from napari_kmeans.files.picture import Picture
    from napari_kmeans.model import KMeansModel


def with_axis_of(picture: Picture, model: KMeansModel) -> KMeansModel:
    """Return the model for an image whose channels lie along the axis that its file states.

    Models of layers in the viewer have the channels last, and most files have them first.

    Raises
    ------
    ValueError
        If one of model and image is of colors or gray, and the other is not.
    """
    rgb, axis = find_channels(picture)
    if rgb == model.rgb and (rgb or (axis is None) == (model.channel_axis is None)):
        return model if rgb else replace(model, channel_axis=axis)
    wanted, got = name_kind(model.rgb, model.channel_axis), name_kind(rgb, axis)
    raise ValueError(f"the image must have {wanted}, got {got}")


def match_channels(job: ImageJob, picture: Picture, model: KMeansModel) -> KMeansModel:
    """Return the model with its channels in the order of the image, by their names.

    A message states the order, or names of other channels than those of the model.

    Raises
    ------
    ValueError
        If the image has more channels than those of the model.
    """
    from napari_kmeans.imaging.channel_names import match_names

    names, wanted = channel_names_of(picture), model.channel_names
    if not names or not wanted or names == wanted:
        return model
    in_file, in_model = ", ".join(names), ", ".join(wanted)
    if len(names) > len(wanted) and all(names.count(name) == 1 for name in wanted):
        numbers = ",".join(str(names.index(name)) for name in wanted)
        raise ValueError(
            f"the image must have the channels of the model, {in_model}, got {in_file}; use "
            f"--channels {numbers}"
        )
    order = match_names(names, wanted)
    if order is not None:
        if order != sorted(order):
            tell(f"{job.source}: {in_file} are matched by name with {in_model} of the model")
        return model.with_channel_order(order)
    if len(names) == len(wanted):
        tell(
            f"{job.source}: {in_file} {'is' if len(names) == 1 else 'are'} compared with "
            f"{in_model} of the model by position"
        )
    return model
