"""A look at XML before it is built: nothing that grows while it is read, or that reads other files."""

import collections
from typing import NoReturn
from xml.parsers import expat

DEEPEST = 64


class Refused(Exception):
    """Why XML is not read, in words that fit into a sentence."""


def count_elements(data: bytes | str) -> collections.Counter[str]:
    """{name without namespace: how many} of well-formed XML.

    Raises:
        Refused: it has a DTD, whose entities can grow without bound, or is nested beyond reason.
        expat.ExpatError, ValueError, LookupError: it is not well-formed, or in an unknown encoding.
    """
    counts: collections.Counter[str] = collections.Counter()
    depth = 0

    def refuse(*_: object) -> NoReturn:
        raise Refused("has a DTD")

    def begin(name: str, _: object) -> None:
        nonlocal depth
        depth += 1
        counts[name.rpartition(":")[2]] += 1
        if depth > DEEPEST:
            raise Refused(f"is nested more than {DEEPEST} levels deep")

    def end(_: object) -> None:
        nonlocal depth
        depth -= 1

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler, parser.StartElementHandler, parser.EndElementHandler = refuse, begin, end
    parser.Parse(data, True)
    return counts
