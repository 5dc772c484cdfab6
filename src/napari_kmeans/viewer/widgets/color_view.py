"""A 3-D view of the colors of an image and the centers of its clusters."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np
from qtpy.QtCore import QEvent, Qt, QTimer
from qtpy.QtWidgets import QCheckBox, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget
from vispy.gloo.context import forget_canvas
from vispy.scene import SceneCanvas, TurntableCamera
from vispy.scene.visuals import Line, Markers

from napari_kmeans.clustering.lloyd import find_nearest
from napari_kmeans.imaging.colors import display_colors
from napari_kmeans.merging import labels_of_centers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray
    from qtpy.QtGui import QColor

    from napari_kmeans.segmentation import Segmentation

    Floats: TypeAlias = NDArray[np.float64]
    ToScreen: TypeAlias = Callable[[Floats], Floats]

MAX_POINTS = 20_000
"""Maximum number of points that are drawn. The view is slow to turn with more points
where OpenGL is rendered in software."""

_BINS = 128
"""Number of bins of the curve that shows a single channel."""

_AXES = {"hsv": ("x", "y", "value"), "lab": ("a", "b", "L")}
_POINT_SIZE, _CENTER_SIZE = 3.0, 13.0
_TURN, _ZOOM = 10.0, 1.1

_DISTANCE = 3.1
"""Scale factor of the camera at which a cube of edge 2 and the names of its axes are in view
from any side."""

# The keys have their names in vispy. A turn is azimuth and elevation in degrees. The cloud
# turns in the direction of the arrow.
_TURNS = {"Left": (_TURN, 0.0), "Right": (-_TURN, 0.0), "Up": (0.0, _TURN), "Down": (0.0, -_TURN)}
_ZOOMS = {"+": 1 / _ZOOM, "=": 1 / _ZOOM, "-": _ZOOM}


@dataclass(frozen=True, eq=False)
class Cloud:
    """Weighted points in the space of the clustering, and the clusters of the points.

    Attributes
    ----------
    points : (m, 3) float64 array
    weights : (m,) float64 array
        Positive.
    labels : (m,) integer array
        The cluster of each point, from 1 to K.
    centers : (K, 3) float64 array
    colors : (m, 3) float64 array
        The display color of each point, from 0 to 1.
    cluster_colors : (K, 3) float64 array
        The display color of each cluster, from 0 to 1.
    axis_names : sequence of 3 str
        An empty name stands for a missing axis.
    """

    points: Floats
    weights: Floats
    labels: NDArray[np.integer[Any]]
    centers: Floats
    colors: Floats
    cluster_colors: Floats
    axis_names: Sequence[str]

    @property
    def bounds(self) -> Floats:
        """The smallest and the largest coordinates of all points and centers, (2, 3)."""
        everything = np.vstack([self.points, self.centers])
        return np.array([everything.min(axis=0), everything.max(axis=0)])

    @property
    def size(self) -> float:
        """The length of the longest edge of the bounds, or 1 if all points coincide."""
        return float(np.ptp(self.bounds, axis=0).max()) or 1.0

    def taken(self, indices: NDArray[np.integer[Any]], weights: Floats) -> Cloud:
        """Return a cloud of some of the points, with new weights."""
        return replace(
            self,
            points=self.points[indices],
            weights=weights,
            labels=self.labels[indices],
            colors=self.colors[indices],
        )

    def thinned(self, size: int) -> Cloud:
        """Return a cloud of at most `size` points that represents all points.

        The total weight is divided into `size` equal shares, and one point is
        taken from each share. A point that is taken for several shares gets
        the weight of all of them.
        """
        if len(self.points) <= size:
            return self
        sums = np.cumsum(self.weights)
        places = (np.arange(size) + 0.5) / size * sums[-1]
        indices, counts = np.unique(np.searchsorted(sums, places), return_counts=True)
        return self.taken(indices, counts * (sums[-1] / size))

    def as_curve(self) -> Cloud:
        """Return the distribution of the weights along the first axis as a curve.

        The first coordinate of each point is its place on the axis. The third
        coordinate is the weight there, scaled to half of the size of the cloud.
        """
        values, low = self.points[:, 0], self.bounds[0, 0]
        bins = ((values - low) / self.size * (_BINS - 1)).astype(np.intp)
        heights = np.bincount(bins, self.weights, _BINS)
        # Each bin has the color and the label of its heaviest point.
        order = np.argsort(-self.weights, kind="stable")
        used, first = np.unique(bins[order], return_index=True)
        curve = self.taken(order[first], np.ones(len(used)))
        upwards = heights[used] / heights.max() * self.size / 2
        points = np.column_stack([low + used / (_BINS - 1) * self.size, 0 * upwards, upwards])
        return replace(curve, points=points)


def cloud_of(segmentation: Segmentation, to_screen: ToScreen | None = None) -> Cloud:
    """Return the cloud of the colors of all pixels, in the space of the clustering.

    Parameters
    ----------
    segmentation : Segmentation
        If the segmentation has no `colors`, the centers are the points, with
        the numbers of pixels as weights.
    to_screen : callable, optional
        A function from channel values (n, C) to display colors (n, 3) from 0
        to 1. None takes the display colors of the model.

    Returns
    -------
    Cloud
        With the first three channels, if there are more.
    """
    model, shown = segmentation.model, segmentation.colors
    centers = model.cluster_centers_
    if shown is None:
        values, weights = model.palette, segmentation.table["pixels"].to_numpy(np.float64)
        points = centers
    else:
        values, weights = shown
        points = np.asarray(model.space.convert(values), np.float64)
    names = [str(each).removeprefix("mean ") for each in segmentation.table]
    names = [name for name, column in zip(names, segmentation.table, strict=True) if name != column]
    if to_screen is None:
        to_screen = partial(display_colors, rgb=model.rgb, dtype=model.dtype, palette=model.palette)
    # The vertical axis is the third one. In lab it should be the lightness, which is the first.
    order = [1, 2, 0] if model.color_space == "lab" else [0, 1, 2]
    return Cloud(
        points=_three(points)[:, order],
        weights=weights,
        labels=find_nearest(points, centers)[0] + 1,
        centers=_three(centers)[:, order],
        colors=to_screen(values),
        # A merged cluster has several centers. Each of them gets the color of the cluster.
        cluster_colors=to_screen(model.palette)[labels_of_centers(model) - 1],
        axis_names=_AXES.get(model.color_space, (*names, "", "")[:3]),
    )


def _three(points: Floats) -> Floats:
    """Return the first three coordinates of points (n, F), filled up with zeros, (n, 3)."""
    return np.pad(points[:, :3], ((0, 0), (0, max(0, 3 - points.shape[1]))))


class _Scene:
    """The drawing of a cloud in an OpenGL canvas, which exists only while it is visible."""

    def __init__(self, parent: QWidget) -> None:
        self.canvas = SceneCanvas(keys=None, show=False, parent=parent)
        self.native.setMinimumSize(200, 220)
        self.view = self.canvas.central_widget.add_view()
        self.view.camera = self.camera = TurntableCamera(fov=30, scale_factor=_DISTANCE)
        self._axes = Line(connect="segments", method="gl", parent=self.view.scene)
        self._curve = Line(method="gl", parent=self.view.scene)
        self._curve.visible = False
        self._points = Markers(antialias=0, parent=self.view.scene)
        self._centers = Markers(parent=self.view.scene)
        # Draw the centers last and without a depth test, so that no point covers them.
        self._centers.set_gl_state("translucent", depth_test=False)
        self._centers.order = 1
        # Without this line, vispy only logs the errors of the callbacks connected below.
        self.canvas.events.ignore_callback_errors = False
        self._ends: Floats = np.empty((0, 3))
        self._names = [QLabel(self.native) for _ in range(3)]
        for name in self._names:
            name.setStyleSheet("background: transparent;")
            name.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        events = self.canvas.events
        # Place the names last, after the camera has handled the event.
        for event in (events.mouse_move, events.mouse_wheel, events.resize, events.draw):
            event.connect(self._place_names, position="last")
        events.key_press.connect(self._on_key)

    @property
    def native(self) -> QWidget:
        """The Qt widget of the canvas."""
        return cast("QWidget", self.canvas.native)

    def close(self) -> None:
        """Delete the canvas, with all that it holds in OpenGL."""
        # Qt deletes the widget later. Until then it may still be resized or drawn, and vispy
        # would still use it as the current canvas.
        for event in (self.canvas.events.draw, self.canvas.events.resize):
            event.disconnect()
        forget_canvas(self.canvas)
        self.native.hide()
        self.native.deleteLater()

    def look_from(self, azimuth: float, elevation: float) -> None:
        """Bring the whole cloud into view from a direction, in degrees."""
        angles = {"azimuth": azimuth, "elevation": elevation}
        self.camera.set_state(**angles, scale_factor=_DISTANCE, center=(0.0, 0.0, 0.0))
        self._place_names()

    def show(self, cloud: Cloud, by_cluster: bool, is_curve: bool, text: QColor) -> None:
        """Draw a cloud, its centers and its axes."""
        low, high = cloud.bounds
        middle, half = (low + high) / 2, cloud.size / 2
        ink = np.array(text.getRgbF()[:3])
        points = ((cloud.points - middle) / half).astype(np.float32)
        colors = cloud.cluster_colors[cloud.labels - 1] if by_cluster else cloud.colors
        self._points.set_data(
            points, size=_sizes(cloud.weights), edge_width=0, face_color=_opaque(colors)
        )
        self._curve.visible = is_curve
        if is_curve:
            self._curve.set_data(points, color=(*ink, 0.5))
        self._centers.set_data(
            ((cloud.centers - middle) / half).astype(np.float32),
            size=_CENTER_SIZE,
            edge_width=2,
            edge_color=(*ink, 1),
            face_color=_opaque(cloud.cluster_colors),
        )
        self._show_axes((low - middle) / half, (high - middle) / half, cloud.axis_names, ink)

    def _show_axes(self, low: Floats, high: Floats, names: Sequence[str], ink: Floats) -> None:
        ends = np.repeat(low[None], 3, axis=0)
        np.fill_diagonal(ends, high)
        present = [bool(name) for name in names]
        segments = np.stack([np.repeat(low[None], 3, axis=0), ends], axis=1)[present]
        self._axes.set_data(segments.reshape(-1, 3).astype(np.float32), color=(*ink, 0.6))
        self._ends = np.vstack([low, ends[present]])
        for label, name in zip(self._names, names, strict=True):
            label.setVisible(bool(name))
            label.setText(name)
            label.adjustSize()
        self._place_names()

    def _place_names(self, _event: Any = None) -> None:
        """Move the names of the axes to the ends of the axes on the screen."""
        if not len(self._ends):
            return
        places = self._axes.get_transform("visual", "canvas").map(self._ends)
        places = places[:, :2] / places[:, 3:]
        directions = places[1:] - places[0]
        directions /= np.maximum(np.linalg.norm(directions, axis=1), 1)[:, None]
        shown = [label for label in self._names if label.text()]
        for label, place, direction in zip(shown, places[1:], directions, strict=True):
            size = np.array([label.width(), label.height()])
            room = np.array([self.native.width(), self.native.height()]) - size
            # Shift the name beyond the end of the line, so that the line does not cross it.
            corner = place + direction * (size / 2 + 3) - size / 2
            label.move(*np.clip(corner, 0, np.maximum(room, 0)).astype(int).tolist())

    def _on_key(self, event: Any) -> None:
        key = "" if event.key is None else event.key.name
        if key in _TURNS:
            self.camera.orbit(*_TURNS[key])
        elif event.text in _ZOOMS:
            self.camera.scale_factor *= _ZOOMS[event.text]
        else:
            return
        event.handled = True
        self._place_names()


class ColorSpaceView(QWidget):
    """A view of the colors of an image and the centers of its clusters in 3-D.

    The area of a point grows with its weight. Centers have a ring. The mouse or
    the arrow keys turn the view; the wheel or the keys + and - zoom. A single
    channel is shown as a curve: the number of pixels of each value.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._cloud: Cloud | None = None
        self._scene: _Scene | None = None
        self._camera: dict[str, Any] | None = None
        self._opening = QTimer(self)
        self._opening.setSingleShot(True)
        self._opening.timeout.connect(self._open)
        self.cluster_colors = QCheckBox("&Cluster colors")
        self.cluster_colors.setToolTip(
            "If checked, each point has the color of its cluster, otherwise its own color."
        )
        self.cluster_colors.toggled.connect(self._draw)
        self.reset_button = QPushButton("Reset &view")
        self.reset_button.setToolTip("Show all points from the initial direction.")
        self.reset_button.clicked.connect(lambda _checked=False: self.reset_view())
        self.message = QLabel()
        self.message.setWordWrap(True)
        row = QHBoxLayout()
        row.addWidget(self.cluster_colors)
        row.addStretch()
        row.addWidget(self.reset_button)
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.addWidget(self.message)
        self._layout.addLayout(row)
        self.clear()

    # ----------------------------------------------------------- what is shown

    def show_segmentation(
        self, segmentation: Segmentation, to_screen: ToScreen | None = None
    ) -> None:
        """Show the colors of all pixels, or only the clusters if no colors were kept.

        See `cloud_of` for the parameters.
        """
        note = (
            ""
            if segmentation.colors is not None
            else "Only the clusters are shown: no pixels were kept."
        )
        self._show(cloud_of(segmentation, to_screen), note)

    def show_points(
        self,
        points: Floats,
        weights: Floats,
        labels: NDArray[np.integer[Any]],
        centers: Floats,
        *,
        colors: Floats,
        cluster_colors: Floats,
        axis_names: Sequence[str],
    ) -> None:
        """Show points of any space of up to three dimensions.

        Parameters
        ----------
        points : (m, F) array
            Only the first three coordinates are shown, and a single one as a curve.
        weights : (m,) array
            Positive.
        labels : (m,) integer array
            The cluster of each point, from 1 to K.
        centers : (K, F) array
        colors : (m, 3) array
            Of the points themselves, from 0 to 1.
        cluster_colors : (K, 3) array
            From 0 to 1.
        axis_names : sequence of str
            One for each coordinate.

        Raises
        ------
        ValueError
            If there are no points.
        """
        if not len(points):
            raise ValueError("points must not be empty, got none: call clear to show nothing.")
        cloud = Cloud(
            _three(np.asarray(points, np.float64)),
            np.asarray(weights, np.float64),
            np.asarray(labels),
            _three(np.asarray(centers, np.float64)),
            np.asarray(colors, np.float64),
            np.asarray(cluster_colors, np.float64),
            (*axis_names, "", "")[:3],
        )
        self._show(cloud, "")

    def clear(self, note: str = "No colors yet: run a clustering first.") -> None:
        """Show only a note."""
        self._show(None, note)

    @property
    def canvas(self) -> SceneCanvas | None:
        """The canvas, for example to render pictures of it; None while it is not visible."""
        return None if self._scene is None else self._scene.canvas

    def reset_view(self) -> None:
        """Show all points from the initial direction."""
        if self._scene is not None and self._cloud is not None:
            self._scene.look_from(*self._first_look())

    @property
    def _is_curve(self) -> bool:
        return self._cloud is not None and not self._cloud.axis_names[1]

    def _first_look(self) -> tuple[float, float]:
        """Return the initial azimuth and elevation in degrees.

        A curve is seen from the front, a plane from above.
        """
        if self._is_curve:
            return 0.0, 0.0
        return (30.0, 25.0) if self._cloud is None or self._cloud.axis_names[2] else (0.0, 90.0)

    def _show(self, cloud: Cloud | None, note: str) -> None:
        earlier = self._cloud
        self._cloud = None if cloud is None else cloud.thinned(MAX_POINTS)
        self.message.setText(note)
        self.message.setVisible(bool(note))
        if cloud is None or earlier is None or cloud.axis_names != earlier.axis_names:
            self._camera = None
            self.reset_view()
        self._draw()

    def _draw(self) -> None:
        if self._scene is None:
            return
        self._scene.native.setVisible(self._cloud is not None)
        self._scene.canvas.bgcolor = self.palette().window().color().name()
        if self._cloud is not None:
            cloud = self._cloud
            if self._is_curve:
                cloud = replace(cloud.as_curve(), axis_names=(cloud.axis_names[0], "", "pixels"))
            ink = self.palette().windowText().color()
            self._scene.show(cloud, self.cluster_colors.isChecked(), self._is_curve, ink)

    # -------------------------------------------------- opening and closing

    def showEvent(self, event: Any) -> None:
        """Open a canvas when the view becomes visible.

        The timer opens it only when Qt has finished its changes of the window.
        While a dock is detached from its window, Qt hides and shows the view
        several times, and each time OpenGL loses its data.
        """
        super().showEvent(event)
        self._opening.start()

    def _open(self) -> None:
        if self._scene is not None or not self.isVisible():
            return
        self._scene = _Scene(self)
        self._layout.insertWidget(0, self._scene.native, 1)
        self._scene.look_from(*self._first_look())
        if self._camera is not None:
            self._scene.camera.set_state(self._camera)
        self._draw()

    def hideEvent(self, event: Any) -> None:
        """Close the canvas when the view is hidden, to free its OpenGL memory.

        A spontaneous event comes from the window system, for example when the
        window is minimized: then the canvas stays.
        """
        if not event.spontaneous() and self._scene is not None:
            self._camera = self._scene.camera.get_state()
            self._scene.close()
            self._scene = None
        super().hideEvent(event)

    def changeEvent(self, event: Any) -> None:
        """Draw in the colors of a new theme."""
        super().changeEvent(event)
        if event.type() in (QEvent.Type.StyleChange, QEvent.Type.PaletteChange):
            self._draw()


def _sizes(weights: Floats) -> NDArray[np.float32]:
    """Return the diameters of points in pixels.

    Areas are proportional to weights, within limits that keep light points visible and
    heavy points from covering others.
    """
    sizes = _POINT_SIZE * np.clip(np.sqrt(weights / weights.mean()), 0.6, 4)
    return np.asarray(sizes, np.float32)


def _opaque(colors: Floats) -> NDArray[np.float32]:
    return np.column_stack([colors, np.ones(len(colors))]).astype(np.float32)
