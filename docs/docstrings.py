"""How this project writes docstrings, told to griffe, which reads them for the API pages."""

import re

import griffe

# `mean, std, median: ...` of a list of arguments or attributes, with the lines that go on below it.
SEVERAL = re.compile(r"^(?P<indent> +)(?P<names>\w+(?:, \w+)+):(?P<text>.*(?:\n(?P=indent) +\S.*)*)", re.MULTILINE)


class SeveralNames(griffe.Extension):
    """An entry of several names is one of each, so that each is shown with its own type."""

    def on_object(self, *, obj, **_):
        """Repeat such entries for each of their names."""
        if obj.docstring:
            obj.docstring.value = SEVERAL.sub(repeated, obj.docstring.value)


def repeated(found):
    """An entry for each name."""
    return "\n".join(f"{found['indent']}{name}:{found['text']}" for name in found["names"].split(", "))
