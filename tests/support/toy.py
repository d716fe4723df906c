"""The toy method, found among the others once this module is imported: for tests of what is around a method."""

import pathlib

import tfmed
from tfmed import methods

FOLDER = pathlib.Path(__file__).parent / "methods"
CONFIG = str(FOLDER / "toy.yaml")
if str(FOLDER) not in methods.__path__:
    methods.__path__.append(str(FOLDER))


def settings(*overrides):
    """The toy's settings: four steps, a row of metrics for each."""
    return tfmed.load_config(CONFIG, overrides)
