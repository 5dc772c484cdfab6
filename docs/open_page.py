"""Open the documentation in a browser, on a desktop: python docs/open_page.py FILE."""

from __future__ import annotations

import os
import sys
import webbrowser
from pathlib import Path


def main() -> None:
    """Open the page, or print where it is if there is no screen."""
    page = Path(sys.argv[1]).resolve().as_uri()
    has_screen = sys.platform != "linux" or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
    )
    print(f"The documentation is in {page}")
    if has_screen and not os.environ.get("CI"):
        webbrowser.open(page)


if __name__ == "__main__":
    main()
