"""Sphinx's configuration of the documentation's site; see build.py beside this file."""

project = "Pinion"
html_title = "Pinion"
author = "The Pinion maintainers"
extensions = ["myst_parser"]
root_doc = "index"
# As GitHub names headings, so that links with an anchor lead to the same place on both.
myst_heading_anchors = 4
myst_linkify_fuzzy_links = False
html_theme = "furo"
html_favicon = "icon.svg"
html_copy_source = html_show_sourcelink = html_show_sphinx = False
html_theme_options = {"navigation_with_keys": True}
# Cedar and the output of commands have no highlighter; that is no mistake.
suppress_warnings = ["misc.highlighting_failure"]
