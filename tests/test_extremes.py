"""Extreme values in every field of every method's settings: accepted, or refused in one line that names the field."""

import pathlib
import time

import pytest

from tests.support import extremes
from tfmed import config as configuration
from tfmed import registry
from tfmed.errors import ConfigError

pytestmark = pytest.mark.current
SECONDS = 10  # that no setting may take
FILE = pathlib.Path("settings.yaml")


def refusal(name, values):
    """The line with which settings are refused by the checks that look at nothing else, or None."""
    try:
        settings = configuration.validate(values, {}, FILE)
        registry.method_class(name)(settings).preprocessing()
    except ConfigError as error:
        return str(error)
    return None


def fault(name, values, field, known):
    """What is wrong with how settings are refused, or None; `known` is said of the settings in any case."""
    begun = time.monotonic()
    try:
        line = refusal(name, values)
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:200]!r}"
    if time.monotonic() - begun > SECONDS:
        return f"takes more than {SECONDS} s"
    if line in (None, known) or (field in line and "\n" not in line and len(line) < 700):
        return None
    return f"is refused without a short line that names it: {line[:200]!r}"


@pytest.mark.parametrize("name", [name for name in registry.names() if name != "toy"])  # the toy of other tests
def test_every_field(name):
    plain, typed = extremes.settings(name)
    faults, tried = [], set()
    for path, value in extremes.fields(typed):
        *sections, (field, _) = path
        if field in extremes.TAGS:  # an unknown one is a fault of the section
            field = sections[-1][0] if sections else field
        known = refusal(name, extremes.changed(plain, path, value))
        for extreme in extremes.extremes(value):
            found = fault(name, extremes.changed(plain, path, extreme), field, known)
            if found:
                faults.append(f"{'.'.join(part for part, _ in path)} = {str(extreme)[:60]}: {found}")
        tried.add(".".join(part for part, _ in path))
    assert {"seed", "train.batch_size", "train.early_stopping.patience", "data.preprocess.shape"} < tried
    assert {f"model.{field}" for field in type(typed.model).model_fields} < tried
    assert not faults, "\n".join(faults)
