"""Run the command line with ``python -m napari_kmeans``."""

from napari_kmeans.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
