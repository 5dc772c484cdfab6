"""Settings of Sphinx for the documentation site: `tox -e docs` builds it."""

from __future__ import annotations

import sys
from pathlib import Path

import napari_kmeans

DIRECTORY = Path(__file__).parent
sys.path.insert(0, str(DIRECTORY / "extensions"))

project = "napari-kmeans"
author = "napari-kmeans developers"
copyright = "napari-kmeans developers"
version = release = napari_kmeans.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.extlinks",
    "numpydoc",
    "myst_parser",
    "sphinx_design",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
    "argument_tables",
]
templates_path = ["_templates"]
exclude_patterns = ["tutorials", "extensions"]
nitpicky = True
# Quotes and dashes in docstrings and arguments are code: "rgb", --help.
smartquotes = False

# Single backticks in docstrings are names of arguments, attributes and functions.
default_role = "literal"
extlinks = {
    "doi": ("https://doi.org/%s", "doi:%s"),
    "arxiv": ("https://arxiv.org/abs/%s", "arXiv:%s"),
}

# Links between pages and to their headings, such as regions.md#undecided-pixels.
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
# The pages of the dock are shown in napari, too, where the headings below their titles are small.
suppress_warnings = ["myst.header"]

autosummary_generate = True
# The type hints of the signatures repeat the types of the docstrings.
autodoc_typehints = "none"
autodoc_member_order = "bysource"
toc_object_entries_show_parents = "hide"
# The template of classes lists their members.
numpydoc_show_class_members = False

# Prompts are not a part of the commands.
copybutton_prompt_text = r"\$ |>>> "
copybutton_prompt_is_regexp = True

sphinx_gallery_conf = {
    "examples_dirs": "tutorials",
    "gallery_dirs": "gallery",
    "filename_pattern": r"\.py",
    "within_subsection_order": "FileNameSortKey",
    "image_scrapers": ("matplotlib",),
    "reset_modules": ("matplotlib",),
    "min_reported_time": 10,
    "show_memory": False,
    "write_computation_times": False,
    "abort_on_example_error": False,
    "download_all_examples": False,
}

html_theme = "pydata_sphinx_theme"
html_title = "napari-kmeans"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_theme_options = {
    "navigation_with_keys": False,
    "show_prev_next": True,
    "header_links_before_dropdown": 6,
    "footer_start": ["copyright"],
    "footer_end": ["sphinx-version"],
    "navbar_align": "left",
}
# These pages have no pages below them, which a side bar would list.
html_sidebars = {"index": [], "getting-started": []}
html_copy_source = False
html_show_sourcelink = False

linkcheck_timeout = 30
linkcheck_retries = 2
# Publishers answer programs with 403, also where the page exists.
linkcheck_ignore = [r"https://doi\.org/"]
linkcheck_report_timeouts_as_broken = False
