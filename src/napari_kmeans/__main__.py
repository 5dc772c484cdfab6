"""Run the command line by ``python -m napari_kmeans``."""

from napari_kmeans.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
