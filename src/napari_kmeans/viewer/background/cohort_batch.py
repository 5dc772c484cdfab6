"""Write the study file of a cohort, and the model that it applies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from napari_kmeans.model import KMeansModel
    from napari_kmeans.viewer.background.cohort_study import Cohort


@dataclass(frozen=True, eq=False)
class BatchFile:
    """A study file to write.

    Attributes
    ----------
    cohort : Cohort
    model : KMeansModel or None
        The model that is applied, for a file beside that of the study.
    output : str or None
        The folder of the results, relative to that of the study.
    """

    cohort: Cohort
    model: KMeansModel | None
    output: str | None = None

    def write(self, path: Path) -> list[Path]:
        """Write the study with relative paths, and its model beside it; return both paths.

        A file of another model is kept: the model of the study then has a number in its name.

        Raises
        ------
        StudyError
            If the choices contradict each other.
        OSError
            If a file cannot be written.
        """
        model = None if self.model is None else self._model_path(path)
        study = self.cohort.study(
            path.parent, model=None if model is None else model.name, output=self.output
        )
        if model is not None and self.model is not None:
            self.model.save(model)
        study.save(path)
        return [path] if model is None else [path, model]

    def _model_path(self, path: Path) -> Path:
        number, model = 1, path.with_name(f"{path.stem}-model.json")
        while model.exists() and not self._is_same(model):
            number += 1
            model = path.with_name(f"{path.stem}-model-{number}.json")
        return model

    def _is_same(self, path: Path) -> bool:
        from napari_kmeans.model import KMeansModel

        try:
            assert self.model is not None
            return KMeansModel.load(path).to_dict() == self.model.to_dict()
        except (OSError, ValueError):
            return False
