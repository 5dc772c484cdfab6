"""A 3-D view of the colors of an image and the centers of its clusters."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from qtpy.QtCore import QEvent, Qt, QTimer
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QVBoxLayout,
    QWidget,
)
from vispy.gloo.context import forget_canvas
from vispy.scene import SceneCanvas, TurntableCamera
from vispy.scene.visuals import Line, Markers

from napari_kmeans.viewer.widgets.point_cloud import make_point_cloud

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from qtpy.QtGui import QColor

    from napari_kmeans.segmentation import Segmentation
    from napari_kmeans.types import Floats
    from napari_kmeans.viewer.widgets.point_cloud import PointCloud, ToScreen

MAX_POINTS = 20_000
"""Maximum number of points that are drawn. With more points, the view turns slowly if OpenGL is
rendered in software."""

_NO_PIXELS = "Only the clusters are shown: no pixels were kept."

# Diameters in pixels, and the turn (degrees) and zoom (factor) of one key press.
_POINT_SIZE, _CENTER_SIZE = 3.0, 13.0
_TURN, _ZOOM = 10.0, 1.1

_SCALE_FACTOR = 3.1
"""Scale factor of the camera at which a cube of edge 2 and the names of its axes are in view
from any side."""

_INITIAL_DIRECTIONS = {1: (0.0, 0.0), 2: (0.0, 90.0), 3: (30.0, 25.0)}
"""Azimuth and elevation in degrees for each number of axes. A curve is seen from the front, and
a plane from above."""

# The keys have their names in vispy. A turn is azimuth and elevation in degrees. The cloud
# turns in the direction of the arrow.
_TURNS = {"Left": (_TURN, 0.0), "Right": (-_TURN, 0.0), "Up": (0.0, _TURN), "Down": (0.0, -_TURN)}
_ZOOMS = {"+": 1 / _ZOOM, "=": 1 / _ZOOM, "-": _ZOOM}


class _Scene:
    """The drawing of a cloud in an OpenGL canvas, which exists only while it is visible."""

    def __init__(self, parent: QWidget) -> None:
        # The first size is the size hint: vispy's 600 pixels would fill most of the dock.
        self.canvas = SceneCanvas(keys=None, show=False, parent=parent, size=(320, 320))
        self.native.setMinimumSize(200, 220)
        self.view = self.canvas.central_widget.add_view()
        self.view.camera = self.camera = TurntableCamera(fov=30, scale_factor=_SCALE_FACTOR)
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
        self._axis_ends: Floats = np.empty((0, 3))
        self._axis_labels = [QLabel(self.native) for _ in range(3)]
        for label in self._axis_labels:
            label.setStyleSheet("background: transparent;")
            label.setTextFormat(Qt.TextFormat.PlainText)
            label.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        events = self.canvas.events
        # Place the names last, after the camera has handled the event.
        for event in (events.mouse_move, events.mouse_wheel, events.resize, events.draw):
            event.connect(self._place_axis_names, position="last")
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
        self.camera.set_state(**angles, scale_factor=_SCALE_FACTOR, center=(0.0, 0.0, 0.0))
        self._place_axis_names()

    def draw(self, cloud: PointCloud, by_cluster: bool, is_curve: bool, color: QColor) -> None:
        """Draw a cloud, its centers and its axes, scaled to a cube of edge 2.

        Parameters
        ----------
        cloud : PointCloud
        by_cluster : bool
            True draws each point in the color of its cluster, False in its own color.
        is_curve : bool
            True connects the points with a line.
        color : QColor
            The color of the lines.
        """
        low, high = cloud.bounds
        middle, half = (low + high) / 2, cloud.size / 2
        rgb = np.array(color.getRgbF()[:3])
        points = ((cloud.points - middle) / half).astype(np.float32)
        colors = cloud.cluster_colors[cloud.labels - 1] if by_cluster else cloud.colors
        self._points.set_data(
            points, size=_point_sizes(cloud.weights), edge_width=0, face_color=_add_alpha(colors)
        )
        self._curve.visible = is_curve
        if is_curve:
            self._curve.set_data(points, color=(*rgb, 0.5))
        self._centers.set_data(
            ((cloud.centers - middle) / half).astype(np.float32),
            size=_CENTER_SIZE,
            edge_width=2,
            edge_color=(*rgb, 1),
            face_color=_add_alpha(cloud.cluster_colors),
        )
        self._draw_axes((low - middle) / half, (high - middle) / half, cloud.axis_names, rgb)

    def _draw_axes(self, low: Floats, high: Floats, names: Sequence[str], rgb: Floats) -> None:
        """Draw a line from the lowest corner along each axis that has a name."""
        ends = np.repeat(low[None], 3, axis=0)
        np.fill_diagonal(ends, high)
        present = [bool(name) for name in names]
        segments = np.stack([np.repeat(low[None], 3, axis=0), ends], axis=1)[present]
        self._axes.set_data(segments.reshape(-1, 3).astype(np.float32), color=(*rgb, 0.6))
        self._axis_ends = np.vstack([low, ends[present]])
        for label, name in zip(self._axis_labels, names, strict=True):
            label.setVisible(bool(name))
            label.setText(name)
            label.adjustSize()
        self._place_axis_names()

    def _place_axis_names(self, _event: Any = None) -> None:
        """Move the names of the axes to the ends of the axes on the screen."""
        if not len(self._axis_ends):
            return
        places = self._axes.get_transform("visual", "canvas").map(self._axis_ends)
        places = places[:, :2] / places[:, 3:]
        directions = places[1:] - places[0]
        directions /= np.maximum(np.linalg.norm(directions, axis=1), 1)[:, None]
        labels = [label for label in self._axis_labels if label.text()]
        for label, place, direction in zip(labels, places[1:], directions, strict=True):
            size = np.array([label.width(), label.height()])
            # Shift the name beyond the end of the line, so that the line does not cross it,
            # but keep it inside the canvas.
            corner = place + direction * (size / 2 + 3) - size / 2
            last = np.array([self.native.width(), self.native.height()]) - size
            label.move(*np.clip(corner, 0, np.maximum(last, 0)).astype(int).tolist())

    def _on_key(self, event: Any) -> None:
        key = "" if event.key is None else event.key.name
        if key in _TURNS:
            self.camera.orbit(*_TURNS[key])
        elif event.text in _ZOOMS:
            self.camera.scale_factor *= _ZOOMS[event.text]
        else:
            return
        event.handled = True
        self._place_axis_names()


class ColorSpaceView(QWidget):
    """A view of the colors of an image and the centers of its clusters in 3-D.

    The area of a point grows with its weight. Centers have a ring. The mouse or
    the arrow keys turn the view; the wheel or the keys + and - zoom. A single
    channel is shown as a curve: the number of pixels of each value. Of more than three
    channels, the user chooses those along the axes.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._cloud: PointCloud | None = None
        self._channels: tuple[str, ...] = ()
        self._axes = [0, 1, 2]
        self._scene: _Scene | None = None
        self._camera_state: dict[str, Any] | None = None
        self._open_timer = QTimer(self)
        self._open_timer.setSingleShot(True)
        self._open_timer.timeout.connect(self._open_canvas)
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
        self.axes = [_make_axis_box(f"The channel along axis {number}.") for number in (1, 2, 3)]
        for number, box in enumerate(self.axes):
            box.activated.connect(partial(self._on_axis_chosen, number))
        self._axis_row = QWidget()
        axis_row = QHBoxLayout(self._axis_row)
        axis_row.setContentsMargins(0, 0, 0, 0)
        axis_row.setSpacing(2)
        for box in self.axes:
            axis_row.addWidget(box, 1)
        row = QHBoxLayout()
        row.addWidget(self.cluster_colors)
        row.addStretch()
        row.addWidget(self.reset_button)
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.addWidget(self.message)
        self._layout.addWidget(self._axis_row)
        self._layout.addLayout(row)
        self.clear()

    # --------------------------------------------------------------- showing

    def show_segmentation(
        self, segmentation: Segmentation, to_screen: ToScreen | None = None
    ) -> None:
        """Show the colors of all pixels, or only the clusters if no colors were kept.

        See `make_point_cloud` for the parameters.
        """
        note = _NO_PIXELS if segmentation.colors is None else ""
        self.show_cloud(make_point_cloud(segmentation, to_screen), note)

    def show_cloud(self, cloud: PointCloud | None, note: str = "") -> None:
        """Show a cloud, or nothing, and a note.

        The direction of view stays if the axes are the same as before, and the chosen axes
        stay if the channels are the same.
        """
        previous = self._cloud
        self._cloud = None if cloud is None else cloud.thin(MAX_POINTS)
        self._offer_channels(() if cloud is None else cloud.channels)
        self.message.setText(note)
        self.message.setVisible(bool(note))
        shown = self._cloud
        if shown is None or previous is None or shown.axis_names != previous.axis_names:
            self._camera_state = None
            self.reset_view()
        self._draw()

    def clear(self, note: str = "No colors yet: run a clustering first.") -> None:
        """Show only a note."""
        self.show_cloud(None, note)

    def show_axes(self, axes: Sequence[int]) -> None:
        """Show three of more than three channels, given by their indices."""
        self._axes = list(axes)
        self._use_axes()
        self._draw()

    def _offer_channels(self, names: Sequence[str]) -> None:
        """Offer channels for the axes, if there are more than three."""
        self._axis_row.setVisible(bool(names))
        if self._channels != tuple(names):
            self._channels, self._axes = tuple(names), [0, 1, 2]
            for box in self.axes:
                box.clear()
                box.addItems(list(names))
        self._use_axes()

    def _use_axes(self) -> None:
        if self._cloud is None or not self._cloud.channels:
            return
        self._cloud = self._cloud.on_axes(self._axes)
        for box, axis in zip(self.axes, self._axes, strict=True):
            box.setCurrentIndex(axis)

    def _on_axis_chosen(self, number: int, channel: int) -> None:
        """Show a channel along an axis. Another axis that had the channel gets the earlier one."""
        axes, earlier = list(self._axes), self._axes[number]
        if channel in axes:
            axes[axes.index(channel)] = earlier
        axes[number] = channel
        self.show_axes(axes)

    @property
    def canvas(self) -> SceneCanvas | None:
        """The canvas, for example to render pictures of it; None while it is not visible."""
        return None if self._scene is None else self._scene.canvas

    def reset_view(self) -> None:
        """Show all points from the initial direction."""
        if self._scene is not None and self._cloud is not None:
            self._scene.look_from(*self._initial_direction())

    def _initial_direction(self) -> tuple[float, float]:
        return _INITIAL_DIRECTIONS[3 if self._cloud is None else self._cloud.n_axes]

    def _draw(self) -> None:
        if self._scene is None:
            return
        self._scene.native.setVisible(self._cloud is not None)
        self._scene.canvas.bgcolor = self.palette().window().color().name()
        if self._cloud is not None:
            is_curve = self._cloud.n_axes == 1
            cloud = self._cloud.as_curve() if is_curve else self._cloud
            color = self.palette().windowText().color()
            self._scene.draw(cloud, self.cluster_colors.isChecked(), is_curve, color)

    # -------------------------------------------------- opening and closing

    def showEvent(self, event: Any) -> None:
        """Open a canvas when the view becomes visible.

        The timer opens it only when Qt has finished its changes of the window.
        While a dock is detached from its window, Qt hides and shows the view
        several times, and each time OpenGL loses its data.
        """
        super().showEvent(event)
        self._open_timer.start()

    def _open_canvas(self) -> None:
        if self._scene is not None or not self.isVisible():
            return
        self._scene = _Scene(self)
        self._layout.insertWidget(0, self._scene.native, 1)
        self._scene.look_from(*self._initial_direction())
        if self._camera_state is not None:
            self._scene.camera.set_state(self._camera_state)
        self._draw()

    def hideEvent(self, event: Any) -> None:
        """Close the canvas when the view is hidden, to free its OpenGL memory.

        A spontaneous event comes from the window system, for example when the
        window is minimized: then the canvas stays.
        """
        if not event.spontaneous() and self._scene is not None:
            self._camera_state = self._scene.camera.get_state()
            self._scene.close()
            self._scene = None
        super().hideEvent(event)

    def changeEvent(self, event: Any) -> None:
        """Draw in the colors of a new theme."""
        super().changeEvent(event)
        if event.type() in (QEvent.Type.StyleChange, QEvent.Type.PaletteChange):
            self._draw()


def _make_axis_box(tooltip: str) -> QComboBox:
    """Return a box that may be narrower than the names of its channels."""
    box = QComboBox()
    box.setToolTip(tooltip)
    box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    box.setMinimumContentsLength(4)
    # Three boxes of the width that napari's style asks for would be wider than the dock.
    box.setMinimumWidth(60)
    return box


def _point_sizes(weights: Floats) -> NDArray[np.float32]:
    """Return the diameters of points in pixels.

    Areas are proportional to weights, within limits that keep light points visible and
    heavy points from covering others.
    """
    sizes = _POINT_SIZE * np.clip(np.sqrt(weights / weights.mean()), 0.6, 4)
    return np.asarray(sizes, np.float32)


def _add_alpha(colors: Floats) -> NDArray[np.float32]:
    return np.column_stack([colors, np.ones(len(colors))]).astype(np.float32)
