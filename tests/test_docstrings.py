"""The examples in docstrings do what they say."""

import doctest
import importlib
import pathlib

import pytest

import tfmed

pytestmark = pytest.mark.current

PACKAGE = pathlib.Path(tfmed.__file__).parent
FILES = [file for file in sorted(PACKAGE.rglob("*.py")) if ">>> " in file.read_text(encoding="utf-8")]


def name_of(file):
    """tfmed/data/cache.py -> tfmed.data.cache"""
    parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = [name_of(file) for file in FILES]


def test_the_examples_are_found():
    assert {"tfmed.io.volume", "tfmed.metrics.segmentation", "tfmed.ops.warp"} <= set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    found = doctest.testmod(importlib.import_module(name), optionflags=doctest.FAIL_FAST)
    assert found.attempted and not found.failed
