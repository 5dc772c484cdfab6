"""Make the description for the package index from README.md, while the package is built.

The package index has none of the files that README.md shows and links to. So relative links and
pictures get the address of the repository, which is `Repository` in `[project.urls]` of
pyproject.toml. Without an address, pictures are left out and links become plain text.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

CODE = re.compile(
    r"^[ \t]*(```+|~~~+).*?^[ \t]*\1|(`+)(?!`).+?(?<!`)\2(?!`)|<!--.*?-->", re.DOTALL | re.MULTILINE
)

RELATIVE = r"(?!#|//|[A-Za-z][A-Za-z+.-]*:)(?:\./)?([^\s\"'<>()]+)"
"""A target that is neither a complete address nor a section of the page."""

TARGET = re.compile(rf"(\]\(\s*<?|^\[[^\]]+\]:\s*<?|\b(?:href|src|srcset)=[\"']){RELATIVE}", re.M)

PICTURES = (".png", ".jpg", ".jpeg", ".gif", ".svg", ".webp", ".avif")

REFERENCE = re.compile(r"^\[([^\]]+)\]:\s*(\S+).*\n?", re.MULTILINE)


class PackageIndexDescription(MetadataHookInterface):
    """The metadata hook of hatchling that sets `readme`."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set the description of the project, for the version that is built."""
        readme = Path(self.root, "README.md").read_text(encoding="utf-8")
        address = metadata.get("urls", {}).get("Repository", "").rstrip("/")
        text = describe(readme, address, f"v{metadata['version']}")
        metadata["readme"] = {"content-type": "text/markdown", "text": text}


def describe(readme: str, address: str, tag: str) -> str:
    """Return a README in Markdown without relative targets.

    Parameters
    ----------
    readme : str
    address : str
        The address of the repository on GitHub; empty if there is none yet.
    tag : str
        The tag of the version whose files are meant.
    """
    code: list[str] = []

    def keep(match: re.Match[str]) -> str:
        code.append(match[0])
        return f"\0{len(code) - 1}\0"

    text = CODE.sub(keep, readme)
    text = _add_addresses(text, address, tag) if address else _remove_files(text)
    return re.sub("\0([0-9]+)\0", lambda match: code[int(match[1])], text)


def _add_addresses(text: str, address: str, tag: str) -> str:
    def complete(match: re.Match[str]) -> str:
        view = "raw" if match[2].lower().endswith(PICTURES) else "blob"
        return f"{match[1]}{address}/{view}/{tag}/{match[2]}"

    return TARGET.sub(complete, text)


def _remove_files(text: str) -> str:
    """Leave out relative pictures, and keep only the text of relative links."""
    references = REFERENCE.findall(text)
    text = REFERENCE.sub("", text)
    for name, target in references:
        text = text.replace(f"][{name}]", f"]({target})")
        text = re.sub(rf"\[{re.escape(name)}\](\[\])?(?![\[(])", rf"[{name}]({target})", text)
    text = re.sub(rf"!\[[^\]]*\]\(\s*<?{RELATIVE}[^)]*\)", "", text)
    text = re.sub(rf"<(img|source)\b[^>]*\b(src|srcset)=[\"']{RELATIVE}[^>]*>", "", text)
    text = re.sub(r"\[\s*\]\([^)]*\)", "", text)
    text = re.sub(rf"\[((?:!\[[^\]]*\]\([^)]*\)|[^\[\]])*)\]\(\s*<?{RELATIVE}[^)]*\)", r"\1", text)
    text = re.sub(rf"<a\b[^>]*\bhref=[\"']{RELATIVE}[^>]*>(.*?)</a>", r"\2", text, flags=re.DOTALL)
    text = re.sub(r"<(a|picture|p)\b[^>]*>\s*</\1>", "", text)
    return re.sub(r"\n{3,}", "\n\n", text).lstrip("\n")
