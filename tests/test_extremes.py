"""Extreme values in every field of every method's settings: accepted, or refused in one line that names the field."""

import importlib
import json
import pathlib
import random
import time

import pytest

from tests.support import extremes
from tfmed import config as configuration
from tfmed import registry
from tfmed.errors import ConfigError, UserError

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


@pytest.mark.one_stack
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


def accepted(name, values):
    """Every (path, extreme value) that the checks of settings let through, of the method's own section."""
    typed = configuration.validate(values, {}, FILE)
    for path, value in extremes.fields(typed):
        for extreme in extremes.NUMBERS if path[0][0] in ("model", "train") else ():
            if type(value) in (int, float) and refusal(name, extremes.changed(values, path, extreme)) is None:
                yield path, extreme


@pytest.mark.long
@pytest.mark.one_stack
@pytest.mark.parametrize("name", [name for name in registry.names() if name != "toy"])
def test_what_is_accepted_trains_or_is_refused_in_one_line(name, tmp_path):
    """Ten of them, in runs of one step: each ends well, or with an error of ours, before long."""
    from tfmed.engine.lifecycle import fit

    harness = importlib.import_module(f"tests.methods.test_{name}").TestHarness
    plain = json.loads(harness.settings("train.steps=1").model_dump_json())
    known = {"steps", "replicas"}  # as long, or as many devices, as was asked for
    kept = [(path, value) for path, value in accepted(name, plain) if path[-1][0] not in known]
    for number, (path, extreme) in enumerate(random.Random(name).sample(kept, 10)):
        settings = configuration.validate(extremes.changed(plain, path, extreme), {}, FILE)
        print(".".join(part for part, _ in path), extreme)
        begun = time.monotonic()
        try:
            fit(settings, tmp_path / str(number))
        except UserError as error:
            assert "\n" not in str(error), error
            print("  ", error)
        assert time.monotonic() - begun < 120
