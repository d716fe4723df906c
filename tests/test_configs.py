"""The verb `configs`, and names of settings files without folders and suffixes."""

import json
import pathlib

import pytest

import tfmed
from tfmed import cli, configs, registry, settings
from tfmed.errors import ConfigError

pytestmark = pytest.mark.current


def test_lists_every_file_with_what_it_is(capsys):
    assert cli.run(configs.main, []) == 0
    lines = capsys.readouterr().out.splitlines()
    folder = pathlib.Path(__file__).parents[1] / "configs"
    assert [line.split()[0] for line in lines] == sorted(
        path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml")
    )
    assert all(len(line.split(maxsplit=1)) == 2 for line in lines)


@pytest.mark.parametrize("name", ["segmentation", "equireg/volumes", "configs/gbdl/uamt.yaml"])
def test_shows_and_copies(name, tmp_path, capsys):
    assert cli.run(configs.main, [name]) == 0
    shown = capsys.readouterr().out
    assert "method:" in shown or "base:" in shown
    assert cli.run(configs.main, [name, "--out", str(tmp_path / "mine.yaml")]) == 0
    assert tfmed.load_config(tmp_path / "mine.yaml") == tfmed.load_config(name)
    assert cli.run(configs.main, [name, "--out", str(tmp_path / "mine.yaml")]) == 2
    assert "exists; choose another --out" in capsys.readouterr().err


def test_names_that_are_nearly_right():
    with pytest.raises(ConfigError, match="did you mean 'segmentation'"):
        tfmed.load_config("segmentaton")


def test_settings_are_told_with_what_they_mean(capsys):
    assert cli.run(settings.main, ["equireg/volumes", "--json"]) == 0
    found = {row["setting"]: row for row in json.loads(capsys.readouterr().out)}
    assert found["train.batch_size"]["meaning"] == "over all replicas" and found["train.batch_size"]["type"] == "int"
    assert found["model.patch"]["value"] == list(tfmed.load_config("equireg/volumes").model.patch)  # the file's
    assert "voxels (y, x)" in found["model.patch"]["meaning"]
    assert found["model.network{unet}.widths"]["value"]
    assert found["data.preprocess{resample}.spacing_mm"]["value"] is None
    assert {"seed", "data.split.folds", "train.schedule.kind"} <= set(found)


@pytest.mark.parametrize("name", [row.name for row in registry.catalog() if row.status == "ready"])
def test_every_setting_of_every_method_is_told(name):
    kind = registry.settings_class(name)
    told = {row["setting"] for row in settings.described(tfmed.load_config(name))}
    for section in ("data", "train", "model"):
        for field in kind.model_fields[section].annotation.model_fields:
            assert any(f"{one}.".startswith(f"{section}.{field}.") for one in told), f"{section}.{field}"


def test_version(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["tfmed", "--version"])
    assert cli.console_script() == 0
    assert capsys.readouterr().out == f"tfmed {tfmed.__version__}\n"
