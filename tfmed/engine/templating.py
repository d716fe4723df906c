"""Templates of pages, all of whose values are escaped."""

import pathlib
from typing import Any


def template(name: str) -> Any:
    """The Jinja template of a page."""
    import jinja2

    loader = jinja2.FileSystemLoader(pathlib.Path(__file__).parent / "templates")
    return jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True).get_template(name)
