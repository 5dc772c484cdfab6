"""The description for the package index shows no picture and has no link that leads nowhere."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest
from hatchling.metadata.core import ProjectMetadata
from hatchling.plugin.manager import PluginManager
from lxml import html
from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
ADDRESS = "https://github.com/someone/napari-kmeans"

describe = runpy.run_path(str(ROOT / "docs" / "package_index.py"))["describe"]


def _render(markdown: str) -> html.HtmlElement:
    """Return the page of a Markdown text, HTML in the text included."""
    return html.fromstring(f"<main>{MarkdownIt().enable('table').render(markdown)}</main>")


def _targets(page: html.HtmlElement) -> list[str]:
    return [link for _, _, link, _ in page.iterlinks()]


def _words(page: html.HtmlElement) -> str:
    return " ".join(page.text_content().split())


SYNTAX = {
    "![a picture](docs/a.png)\n\ntext": ("<p>text</p>", "raw/v1/docs/a.png"),
    "a [page](docs/a.md#part) of": ("<p>a page of</p>", "blob/v1/docs/a.md#part"),
    "a [`page`](./docs/a.md 'title')": ("<p>a <code>page</code></p>", "blob/v1/docs/a.md"),
    "a [page][1]\n\n[1]: docs/a.md": ("<p>a page</p>", "blob/v1/docs/a.md"),
    "a [page]\n\n[page]: docs/a.md": ("<p>a page</p>", "blob/v1/docs/a.md"),
    '<p><img src="a.GIF" width="9"></p>\n\ntext': ("<p>text</p>", "raw/v1/a.GIF"),
    'a <a href="LICENSE">text</a>': ("<p>a text</p>", "blob/v1/LICENSE"),
    "a [![b](c.svg)](https://x.org)": ("<p>a</p>", "raw/v1/c.svg"),
    "a [![b](https://x.org/c.svg)](d.md)": (
        '<p>a <img src="https://x.org/c.svg" alt="b"></p>',
        "blob/v1/d.md",
    ),
}


@pytest.mark.parametrize("text", SYNTAX)
def test_every_form_of_links_and_pictures_is_converted(text):
    plain, completed = SYNTAX[text]
    assert html.tostring(_render(describe(text, "", "v1"))[0]).decode().strip() == plain
    assert f"{ADDRESS}/{completed}" in _targets(_render(describe(text, ADDRESS, "v1")))


@pytest.mark.parametrize("address", ["", ADDRESS])
def test_code_sections_and_complete_addresses_stay(address):
    text = (
        "# Part\n\n`[a](b.md)` and [c](#part) and [d](https://x.org/e.png)\n\n"
        "```md\n![a](b.png)\n\n\n\n[c](d.md)\n```\n\n<!-- [a](b.md) -->\n"
    )
    assert describe(text, address, "v1") == text


def test_readme_without_an_address_has_only_complete_links_and_the_same_words():
    page, before = _render(describe(README, "", "v1")), _render(README)
    assert all(link.startswith(("http", "#")) for link in _targets(page))
    assert page.xpath("//img[not(starts-with(@src, 'http'))]") == []
    assert _words(page) == _words(before)


def test_readme_with_an_address_shows_the_files_of_the_version():
    page, before = _render(describe(README, ADDRESS, "v1")), _render(README)
    assert _words(page) == _words(before)
    for old, new in zip(_targets(before), _targets(page), strict=True):
        if old.startswith(("http", "#")):
            assert new == old
        else:
            view, path = new.removeprefix(f"{ADDRESS}/").split("/v1/")
            assert path == old
            assert (ROOT / path.partition("#")[0]).exists()
            assert view == ("raw" if Path(path).suffix in (".png", ".gif", ".svg") else "blob")


@pytest.mark.parametrize("address", ["", ADDRESS])
def test_build_takes_the_address_from_pyproject(tmp_path, address):
    settings = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    settings = re.sub(r"^\[project\.urls\]\n(.+\n)*", "", settings, flags=re.MULTILINE)
    if address:
        settings += f'\n[project.urls]\nRepository = "{address}"\n'
    (tmp_path / "pyproject.toml").write_text(settings, encoding="utf-8")
    for name in ("README.md", "src", "docs"):
        (tmp_path / name).symlink_to(ROOT / name)
    core = ProjectMetadata(str(tmp_path), PluginManager()).core
    assert core.readme_content_type == "text/markdown"
    assert core.readme == describe(README, address, f"v{core.version}")
