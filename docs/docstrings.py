"""How this project writes docstrings, told to griffe, which reads them for the API pages."""

import re

import griffe

SEVERAL = re.compile(r"^( +)(\w+(?:, \w+)+)(?=:)", re.MULTILINE)


class SeveralNames(griffe.Extension):
    """`mean, std, median: ...` is one entry of three names, not a name and its type."""

    def on_object(self, *, obj, **_):
        """Bind the names of such entries together with spaces that do not break."""
        if obj.docstring:
            obj.docstring.value = SEVERAL.sub(lambda found: found[0].replace(", ", ",\u00a0"), obj.docstring.value)
