"""The verb `configs`, and names of settings files without folders and suffixes."""

import pathlib

import pytest

import tfmed
from tfmed import cli, configs
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


def test_version(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["tfmed", "--version"])
    assert cli.console_script() == 0
    assert capsys.readouterr().out == f"tfmed {tfmed.__version__}\n"
