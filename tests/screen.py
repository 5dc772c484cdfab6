"""Install the virtual screen that the tests need: Xvfb and OpenGL in software.

Missing packages are installed with apt-get, if the system is Debian or is based on it, if
there is no desktop, and if the user is root. On other systems and for other users, the
missing packages are only printed. The script uses only the standard library, and it does
nothing if no package is missing.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

LIBRARIES = {
    "libGL.so.1": "libgl1",
    "libEGL.so.1": "libegl1",
    "libxkbcommon-x11.so.0": "libxkbcommon-x11-0",
    "libxcb-cursor.so.0": "libxcb-cursor0",
    "libxcb-icccm.so.4": "libxcb-icccm4",
    "libxcb-keysyms.so.1": "libxcb-keysyms1",
    "libxcb-image.so.0": "libxcb-image0",
    "libxcb-render-util.so.0": "libxcb-render-util0",
    "libxcb-shape.so.0": "libxcb-shape0",
    "libxcb-xinerama.so.0": "libxcb-xinerama0",
    "libdbus-1.so.3": "libdbus-1-3",
    "libfontconfig.so.1": "libfontconfig1",
    "libglib-2.0.so.0": "libglib2.0-0",
    "libgssapi_krb5.so.2": "libgssapi-krb5-2",
}
"""The libraries that Qt 6 and OpenGL load on X11, and the Debian packages that contain them."""


def missing_packages() -> list[str]:
    """Return the Debian packages that are missing to open a window without a desktop."""
    packages = [package for library, package in LIBRARIES.items() if not _loads(library)]
    if shutil.which("Xvfb") is None:
        packages.append("xvfb")
    drivers = [*Path("/usr").glob("lib*/dri/swrast*"), *Path("/usr").glob("lib*/*/dri/swrast*")]
    if not drivers:
        packages.append("libgl1-mesa-dri")
    return packages


def main() -> int:
    """Install or print the missing packages. Return 0 if the tests can open a window."""
    if not sys.platform.startswith("linux"):
        return 0
    if os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        return 0
    packages = missing_packages()
    if not packages:
        return 0
    if shutil.which("apt-get") is None:
        print(f"The tests need Xvfb and OpenGL. On Debian the packages are: {' '.join(packages)}.")
        return 1
    if os.geteuid() != 0:
        print(f"The tests need a screen: sudo apt-get install {' '.join(packages)}")
        return 1
    print(f"Installing a screen for the tests: {' '.join(packages)}", flush=True)
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    apt_get = ["apt-get", "-o", "DPkg::Lock::Timeout=120", "-q"]
    install = [*apt_get, "install", "-y", "--no-install-recommends", *packages]
    for command in ([*apt_get, "update"], install):
        code = subprocess.run(command, env=environment).returncode
        if code != 0:
            print(
                f"{' '.join(command)} failed with exit code {code}, for the reason that it printed "
                f"above. The tests need a screen: install {' '.join(packages)}."
            )
            return 1
    return 0


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
