"""Renders what it is given (a JSON list of texts on standard input) and fails unless nothing of a untrusted person's came alive."""

import json
import sys
from html.parser import HTMLParser

from markdown_it import MarkdownIt

MARKDOWN = {"h3", "p", "em", "strong", "code", "ul", "li", "table", "thead", "tbody", "tr", "th", "td", "details", "summary", "sub"}
PAGE = {
    "html", "head", "meta", "title", "link", "body", "header", "main", "section", "h1", "h2", "p", "b", "small", "code", "pre",
    "table", "thead", "tbody", "tr", "th", "td", "span", "a", "footer", "div", "caption", "details", "summary", "nav", "ol",
    "ul", "li", "dl", "dt", "dd", "time", "form", "label", "input", "select", "option", "button", "img", "script", "strong", "em",
    "progress", "svg", "rect", "noscript",
}
# What the page itself loads.
OURS = {"script": "page.js", "img": "icon.svg"}
HOSTILE = ["evil.example", "@team", "alert(", "ERROR all is lost", "Mallory"]


class Reader(HTMLParser):
    """Collects tags, and the text that stands outside of code."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.tags, self.attributes, self.outside, self.depth, self.columns, self.rows = set(), [], [], 0, 0, []

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.attributes += attributes
        source = dict(attributes).get("src", "")
        if (tag in OURS or source) and not source.endswith(f"./{OURS.get(tag)}"):
            sys.exit(f"{tag} loads {source!r}")
        if tag in ("code", "pre"):
            self.depth += 1
        if tag == "tr":
            self.columns = 0
        if tag in ("td", "th"):
            self.columns += 1

    def handle_endtag(self, tag):
        if tag in ("code", "pre"):
            self.depth -= 1
        if tag == "tr":
            self.rows.append(self.columns)

    def handle_comment(self, data):
        if data.strip() != "pinion:plan":
            sys.exit(f"a comment: {data!r}")

    def handle_data(self, data):
        if self.depth == 0:
            self.outside.append(data)


def read(html, allowed, what):
    reader = Reader()
    reader.feed(html)
    reader.close()
    if reader.tags - allowed:
        sys.exit(f"{what}: tags {sorted(reader.tags - allowed)} in\n{html}")
    for name, value in reader.attributes:
        if name.startswith("on") or "evil" in (value or "") or "javascript:" in (value or ""):
            sys.exit(f"{what}: attribute {name}={value!r} in\n{html}")
    return reader


texts = json.load(sys.stdin)
for text in texts:
    if sys.argv[1] == "page":
        read(text, PAGE, "the page")
        continue
    reader = read(MarkdownIt("gfm-like").render(text), MARKDOWN, "Markdown")
    outside = "".join(reader.outside)
    for word in HOSTILE:
        if word in outside:
            sys.exit(f"{word!r} stands outside of code in\n{text}")
    if len(set(reader.rows)) > 1:
        sys.exit(f"rows of {reader.rows} cells in\n{text}")
    if "the end" in text and ("the end" not in outside or "before" not in outside or "after" not in outside):
        sys.exit(f"our own words are gone from\n{text}")
