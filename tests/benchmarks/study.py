"""Time a study of many images, and make one whose shares are known.

    python tests/benchmarks/study.py make FOLDER      # 24 images in two groups, and study.yaml
    python tests/benchmarks/study.py time [N]         # N images of 2 megapixels, 200 by default
    python tests/benchmarks/study.py workers [N]      # two workers of a cluster against one

`time` compares the study with its parts, each measured alone: reading all images once on the
same threads, and reading, painting and writing them once. `workers` needs `distributed`.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import imageio.v3 as iio
import numpy as np

N_IMAGES, SIDE = 24, 256
SHARES = {"control": 0.20, "treated": 0.35}
"""The mean share of nuclei in the two groups."""

NUCLEI, STROMA, BACKGROUND = (95, 50, 130), (215, 150, 180), (242, 238, 243)


def make_study(folder: Path, side: int = SIDE) -> dict[str, float]:
    """Write images like stained tissue and a study file; return the share of nuclei of each.

    The shares are exact: every pixel has the color of its class, with noise much smaller than
    the distance of the colors.
    """
    raw = folder / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    shares = {}
    for number in range(N_IMAGES):
        group = list(SHARES)[number % 2]
        wanted = SHARES[group] + rng.uniform(-0.04, 0.04)
        field = _smooth(rng.random((side, side)))
        order = np.argsort(field, axis=None)
        classes = np.full(side * side, 2)
        n_nuclei, n_background = round(wanted * side**2), side**2 // 5
        classes[order[:n_nuclei]] = 0
        classes[order[n_nuclei : side**2 - n_background]] = 1
        colors = np.array([NUCLEI, STROMA, BACKGROUND])[classes.reshape(side, side)]
        image = np.clip(colors + rng.normal(0, 5, colors.shape), 0, 255).astype(np.uint8)
        name = f"{group}_p{number // 2:02d}"
        iio.imwrite(raw / f"{name}.png", image)
        shares[name] = n_nuclei / side**2
    (folder / "study.yaml").write_text(
        "images: raw\n"
        'metadata: "{group}_{patient}.png"\n'
        "fit: {n_clusters: 3}\n"
        "classes: {1: nuclei, 2: stroma, 3: {name: background, ignored: false}}\n"
        "spacing: 0.5\n"
        "output: results\n",
        "utf-8",
    )
    return shares


def _smooth(noise: np.ndarray) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(noise, 4)


def make_photographs(folder: Path, n_images: int) -> None:
    """Write photographs of 2 megapixels with different colors, as PNG."""
    from skimage import data
    from skimage.transform import resize

    rng = np.random.default_rng(0)
    sources = [
        resize(getattr(data, name)(), (1225, 1633), preserve_range=True)
        for name in ("coffee", "chelsea", "rocket", "immunohistochemistry")
    ]
    for number in range(n_images):
        image = sources[number % len(sources)] * rng.uniform(0.7, 1.0, 3)
        image = np.clip(image + rng.normal(0, 2, image.shape), 0, 255).astype(np.uint8)
        iio.imwrite(folder / f"{number:04d}.png", image, compress_level=1)


def time_study(n_images: int) -> None:
    """Print the time of a study, and of its parts."""
    from napari_kmeans import KMeansModel, Study, run_study
    from napari_kmeans.batch.jobs import ClusteredImage, Workflow
    from napari_kmeans.batch.listing import Reading, list_jobs
    from napari_kmeans.batch.output import write_results
    from napari_kmeans.execution.threads import map_threads
    from napari_kmeans.files.reading import read_image

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "raw").mkdir()
        make_photographs(folder / "raw", n_images)
        entries = {"images": "raw", "fit": {"n_clusters": 8}, "outputs": ["labels", "recolored"]}
        study = Study.from_dict({**entries, "images": ["raw/0000.png", "raw/0001.png"]}, folder)
        run_study(study, folder / "warm")
        model = KMeansModel.load(folder / "warm" / "napari-kmeans-model.json")
        paths = sorted((folder / "raw").iterdir())

        start = time.perf_counter()
        map_threads(lambda path: read_image(path).pixels.shape, paths)
        reading = time.perf_counter() - start

        (folder / "plain").mkdir()
        start = time.perf_counter()
        jobs = list_jobs(Reading(tuple(paths)))
        for outcome in Workflow.of_model(model).run(jobs):
            assert isinstance(outcome, ClusteredImage)
            write_results(outcome.seg, folder / "plain", outcome.name, outcome.picture, shared=True)
        painting = time.perf_counter() - start

        start = time.perf_counter()
        result = run_study(Study.from_dict(entries, folder), folder / "study")
        whole = time.perf_counter() - start
        assert len(result.table) == 8 * n_images
    print(f"{n_images} images of 2 megapixels, K = 8, PNG to TIFF and PNG")
    print(f"reading once {reading:.1f} s, reading, painting and writing once {painting:.1f} s")
    print(f"the study, with its table and record {whole:.1f} s", end=": ")
    print(f"{whole / (reading + painting):.2f} of both; peak memory {_peak_memory():.0f} MB")


def _peak_memory() -> float:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def time_workers(n_images: int) -> None:
    """Print the time of a study on one and on two workers with one thread each."""
    from distributed import Client, LocalCluster

    from napari_kmeans import Study, run_study

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "raw").mkdir()
        make_photographs(folder / "raw", n_images)
        entries = {"images": "raw", "fit": {"n_clusters": 8}, "outputs": ["labels", "recolored"]}
        run_study(Study.from_dict(entries, folder), folder / "model")
        model = str(folder / "model" / "napari-kmeans-model.json")
        study = Study.from_dict(
            {"images": "raw", "model": model, "outputs": entries["outputs"]}, folder
        )
        times = {}
        for n_workers in (1, 2):
            settings = {"threads_per_worker": 1, "dashboard_address": None}
            with LocalCluster(n_workers=n_workers, **settings) as cluster, Client(cluster):
                run_study(study, folder / f"warm {n_workers}")
                start = time.perf_counter()
                run_study(study, folder / f"{n_workers}")
                times[n_workers] = time.perf_counter() - start
    print(f"{n_images} images of 2 megapixels: one worker {times[1]:.1f} s, two {times[2]:.1f} s")
    print(f"{times[1] / times[2]:.2f} times faster")


def main() -> None:
    """Run the part that the arguments name."""
    part, *rest = sys.argv[1:] or ["time"]
    if part == "make":
        for image, share in make_study(Path(rest[0])).items():
            print(f"{image}: {100 * share:.2f} % nuclei")
    elif part == "time":
        time_study(int(rest[0]) if rest else 200)
    else:
        time_workers(int(rest[0]) if rest else 24)


if __name__ == "__main__":
    main()
