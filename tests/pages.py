"""Pages of HTML as tests see them, and where there is a browser."""

import shutil
from html.parser import HTMLParser

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


class Parsed(HTMLParser):
    """Elements, the text of each section by its id, and scripts of a page."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.attributes, self.texts, self.scripts = [], [], {}, []
        self._section, self._script = "", False
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag == "section":
            self._section = dict(attrs).get("id", dict(attrs).get("class"))
        self._script = tag == "script"
        if self._script:
            self.scripts.append("")

    def handle_endtag(self, tag):
        self._script = False

    def handle_data(self, data):
        if self._script:
            self.scripts[-1] += data
        else:
            self.texts[self._section] = self.texts.get(self._section, "") + data + " "


def words(text):
    return " ".join(text.split())


def chromium():
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip("needs Chromium: apt-get install chromium, or the like")
    return path
