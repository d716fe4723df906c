"""What lies in a page of the viewer."""

import base64
import json
import pathlib
import re


def layer_files(text):
    """(views, bytes of their data) of a page's text."""
    views = json.loads(re.search(r'id="views">(.*?)</script>', text, re.DOTALL)[1])
    return views, [base64.b64decode(one) for one in re.findall(r'id="data\d+">(.*?)</script>', text)]


def views_of(path):
    """The views of a page at a path."""
    return layer_files(pathlib.Path(path).read_text(encoding="utf-8"))[0]
