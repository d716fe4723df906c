"""XML that is looked at before it is built: nothing that grows while it is read, or that reads other files."""

import collections
import os
import xml.etree.ElementTree as ElementTree
from typing import NoReturn
from xml.parsers import expat

from tfmed.errors import DataError
from tfmed.files import PathLike, open_file

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


def read_xml(path: PathLike, largest: int, what: str) -> ElementTree.Element:
    """The root of an XML file.

    Args:
        path: of the file.
        largest: bytes that such a file can have.
        what: it should be, a few words for the errors.

    Raises:
        DataError: it cannot be read, is larger, is not well-formed, has a DTD or is nested beyond reason.
    """
    try:
        with open_file(path) as stream:
            if os.fstat(stream.fileno()).st_size > largest:
                raise DataError(f"{path}: is larger than {largest >> 20} MiB; no {what}, move it away")
            data = stream.read(largest)
        count_elements(data)
        return ElementTree.fromstring(data)
    except Refused as reason:
        raise DataError(f"{path}: {reason}, which is refused; no {what} needs that, copy or write it again") from None
    except (ElementTree.ParseError, expat.ExpatError, ValueError, LookupError) as error:
        raise DataError(f"{path}: not well-formed XML ({error}); copy it again") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check its permissions") from None
