"""Settings: what loads, what is refused, and that every refusal is one line with file, line and key."""

import itertools
import json
import math
import pathlib
import re

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tfmed
from tfmed import config as configuration
from tfmed import registry
from tfmed.errors import ConfigError
from tfmed.settings_text import parse_value, read_yaml

pytestmark = pytest.mark.current

REPOSITORY = pathlib.Path(__file__).parents[1]
CONFIGS = sorted((REPOSITORY / "configs").rglob("*.yaml"))


@pytest.fixture
def write(tmp_path):
    """Write a settings file; text stays as it is, anything else becomes YAML."""

    def _write(content, name="settings.yaml"):
        file = tmp_path / name
        if isinstance(content, bytes):
            file.write_bytes(content)
        else:
            file.write_text(content if isinstance(content, str) else yaml.safe_dump(content), encoding="utf-8")
        return file

    return _write


def refusal(path, *overrides, profile="paper"):
    """The message with which a file is refused: one line that begins with a place."""
    with pytest.raises(ConfigError) as caught:
        tfmed.load_config(path, overrides, profile)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 700
    return message


# --- what loads -----------------------------------------------------------------------------------------------------


def test_defaults_and_types(write):
    loaded = tfmed.load_config(write("method: ctsgan\n"))
    assert (loaded.method, loaded.profile, loaded.seed) == ("ctsgan", "paper", 0)
    assert loaded.model.learning_rate == 1e-4 and loaded.data.source == "phantom_chest_ct"


@pytest.mark.parametrize("text", ["1e-4", "1.0e-4", "0.0001", "'1e-4'", "1E-4"])
def test_ways_to_write_a_small_number(write, text):
    """YAML 1.1 reads 1e-4 as text; people write it nevertheless."""
    assert tfmed.load_config(write(f"method: ctsgan\nmodel: {{learning_rate: {text}}}\n")).model.learning_rate == 1e-4
    assert tfmed.load_config(write("method: ctsgan\n"), [f"model.learning_rate={text}"]).model.learning_rate == 1e-4


def test_settings_cannot_be_changed(write):
    loaded = tfmed.load_config(write("method: ctsgan\n"))
    with pytest.raises(ValueError, match="frozen"):
        loaded.train.steps = 3


def _every_profile():
    for file in CONFIGS:
        values, _ = configuration._read_with_bases(file)
        for profile in ("paper", *values.get("profiles", {})):
            yield pytest.param(file, profile, id=f"{file.relative_to(REPOSITORY / 'configs')}-{profile}")


@pytest.mark.parametrize("file, profile", list(_every_profile()))
def test_shipped_files_load_and_survive_a_round_trip(file, profile, write):
    loaded = tfmed.load_config(file, profile=profile)
    assert loaded.profile == profile
    assert tfmed.load_config(write(json.loads(loaded.model_dump_json()))) == loaded


def test_shipped_file_is_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert tfmed.load_config("configs/ctsgan.yaml").method == "ctsgan"


def test_a_file_is_named_as_its_method():
    for file in CONFIGS:
        name = file.relative_to(REPOSITORY / "configs").parts[0].removesuffix(".yaml")
        assert tfmed.load_config(file).method == name


# --- profiles, bases, overrides ---------------------------------------------------------------------------------------


def test_a_profile_changes_only_what_it_names(write):
    file = write("method: ctsgan\ntrain: {steps: 7, batch_size: 6}\nprofiles:\n  small: {train: {steps: 3}, seed: 4}\n")
    small, paper = tfmed.load_config(file, profile="small"), tfmed.load_config(file)
    assert (small.train.steps, small.train.batch_size, small.seed, small.profile) == (3, 6, 4, "small")
    assert (paper.train.steps, paper.seed) == (7, 0)


def test_overrides_win_over_the_profile_and_the_last_one_wins(write):
    file = write("method: ctsgan\nprofiles: {small: {train: {steps: 3}}}\n")
    assert tfmed.load_config(file, ["train.steps=5", "train.steps=6"], "small").train.steps == 6


def test_base_files_chain(write):
    write("method: ctsgan\nseed: 1\ntrain: {steps: 7, batch_size: 6}\nprofiles: {small: {seed: 9}}\n", "one.yaml")
    write("base: one.yaml\ntrain: {steps: 8}\n", "two.yaml")
    loaded = tfmed.load_config(write("base: two.yaml\nseed: 3\n", "three.yaml"))
    assert (loaded.seed, loaded.train.steps, loaded.train.batch_size) == (3, 8, 6)
    assert tfmed.load_config(write("base: two.yaml\n"), profile="small").seed == 9


def test_an_error_in_a_base_names_the_base(write):
    base = write("method: ctsgan\ntrain:\n  stepz: 7\n", "base.yaml")
    assert refusal(write("base: base.yaml\nseed: 3\n")).startswith(f"{base}:3: train.stepz: unknown setting")


@pytest.mark.parametrize("bases", [("a", "a"), ("a", "b", "a"), ("a", "b", "c", "a")], ids="-".join)
def test_a_circle_of_bases_is_refused(write, bases):
    for name, base in itertools.pairwise(bases):
        file = write(f"base: {base}.yaml\n", f"{name}.yaml")
    assert "circle" in refusal(file)


@pytest.mark.parametrize("base", ["absent.yaml", "3", "[a]", "''", ".", "x" * 300], ids=str)
def test_a_base_that_is_no_file(write, base):
    assert re.search(r"settings\.yaml:1: base: no such file", refusal(write(f"base: {base}\n")))


OPTIONS = "method: ctsgan\ndata: {source: phantom_chest_ct, options: {cases: 5}}\n"


def test_another_source_drops_the_options_of_the_old_one(write):
    file = write(OPTIONS)
    assert tfmed.load_config(file).data.options == {"cases": 5}
    assert tfmed.load_config(file, ["data.source=phantom_chest_ct"]).data.options == {"cases": 5}
    assert tfmed.load_config(file, ["data.source=nifti_folder"]).data.options == {}


def test_another_source_of_more_scans_brings_its_own_options():
    """Also below `model`, where some methods name further sources."""
    file = REPOSITORY / "configs" / "ctsgan_nodules.yaml"
    changed = tfmed.load_config(file, ["model.healthy={source: nlst, root: NLST}", "model.synthetic.options.cases=7"])
    assert (changed.model.healthy.options, changed.model.healthy.root) == ({}, "NLST")
    assert changed.model.synthetic.options == {"cases": 7, "seed": 2, "noise_hu": 20}


def test_labels_by_name_take_the_place_of_the_numbers_of_a_file():
    """Else those of the paper's data set would have to be taken back one by one."""
    model = tfmed.load_config("equireg", ["model.labels={liver: 7, kidneys: [2, 3]}"]).model
    assert model.label_values == (0, 7, 2) and model.regions == {"liver": (7,), "kidneys": (2,)}
    numbers = tfmed.load_config("equireg", ["model.labels={a: 1}", "model.regions={all: [1]}"]).model
    assert numbers.label_values == (0, 1) and numbers.regions == {"all": (1,)}


def test_labels_of_a_further_data_set_do_so_too(write):
    write(
        "method: fsnet\nmodel: {auxiliary: {b: {source: mnms, label_values: [0, 1], regions: {c: [1]}}}}\n", "base.yaml"
    )
    file = write("base: base.yaml\nmodel: {auxiliary: {b: {labels: {d: 2}}}}\n")
    further = tfmed.load_config(file).model.auxiliary["b"]
    assert further.label_values == (0, 2) and further.regions == {"d": (2,)}


@pytest.mark.parametrize("order", [1, -1])
def test_options_given_with_the_source_stay_in_any_order(write, order):
    overrides = ["data.source=nifti_folder", "data.options.images='*.nii'"][::order]
    assert tfmed.load_config(write(OPTIONS), overrides).data.options == {"images": "*.nii"}


def test_another_source_drops_the_options_in_the_profiles_of_its_base(write):
    profiles = "{small: {data: {options: {cases: 2}}}, own: {data: {source: nlst, options: {a: 1}}}}"
    write(f"{OPTIONS}profiles: {profiles}\n", "base.yaml")
    file = write("base: base.yaml\ndata: {source: nifti_folder}\n")
    assert tfmed.load_config(file, profile="small").data.options == {}
    assert tfmed.load_config(file, profile="own").data.options == {"a": 1}


# --- refusals: which line, which key, which fix ----------------------------------------------------------------------

REFUSED = {
    # unknown names
    "train: {stepz: 3}": ":2: train.stepz: unknown setting; did you mean 'steps'?",
    "trian: {}": ":2: trian: unknown setting; did you mean 'train'?",
    "train: {schedule: {knd: linear}}": ":2: train.schedule.knd: unknown setting; did you mean 'kind'?",
    "train: {early_stopping: {metrik: x}}": "did you mean 'metric'?",
    "data: {split: {tets: 0.1}}": ":2: data.split.tets: unknown setting; did you mean 'test'?",
    "model: {gp_wait: 1}": ":2: model.gp_wait: unknown setting; did you mean 'gp_weight'?",
    "model: {zzz: 1}": "model.zzz: unknown setting; known: architecture",
    "data: {preprocess: [{step: resampel}]}": "data.preprocess.0: unknown step 'resampel'; did you mean 'resample'?",
    "data: {preprocess: [{step: window, window_hz: [0, 1]}]}": "window_hz: unknown setting; did you mean 'window_hu'?",
    "data: {preprocess: [{spacing_mm: [1, 1, 1]}]}": "data.preprocess.0: unknown step",
    # types
    "train: {steps: many}": ":2: train.steps: input should be a valid integer",
    "train: {steps: 1.5}": "train.steps: input should be a valid integer",
    "train: {steps: yes}": "train.steps: must be a number (got True)",
    "train: {replicas: true}": "train.replicas: must be a number (got True)",
    "train: {steps: [1]}": "train.steps: ",
    "train: {steps: null}": "train.steps: ",
    "train: 3": ":2: train: ",
    "train: [a]": ":2: train: ",
    "data: {options: 3}": ":2: data.options: ",
    "data: {preprocess: resample}": ":2: data.preprocess: ",
    "data: {preprocess: [3]}": "data.preprocess.0: unknown step",
    "data: {root: 3}": "data.root: input should be a valid string (got 3)",
    "model: {volume_shape: [1, 2]}": "model.volume_shape",
    "model: {volume_shape: cube}": "model.volume_shape",
    "model: {window_hu: [low, high]}": "model.window_hu.0",
    # ranges
    "train: {steps: 0}": "train.steps: input should be greater than 0 (got 0)",
    "train: {steps: -5}": "train.steps: input should be greater than 0 (got -5)",
    "train: {batch_size: -1}": "train.batch_size",
    "train: {strategy: tpu}": "train.strategy: input should be 'auto', 'cpu', 'mirrored' or 'multiworker' (got 'tpu')",
    "train: {precision: float8}": "train.precision",
    "seed: -1": ":2: seed: ",
    f"seed: {2**31}": ":2: seed: ",
    "data: {split: {validation: 1}}": "data.split.validation",
    "data: {cache_dtype: int8}": "data.cache_dtype",
    "model: {learning_rate: .nan}": "model.learning_rate: input should be a finite number",
    "model: {learning_rate: .inf}": "model.learning_rate: input should be a finite number",
    "model: {learning_rate: 0}": "model.learning_rate",
    "model: {generator_channels: [8, 0]}": "model.generator_channels.1",
    # settings that do not go together
    "model: {gp: none}": ":2: model: gp: a Wasserstein critic is unbounded without a penalty; choose",
    "train: {batch_size: 3, gradient_accumulation: 2}": "batch_size 3 cannot be cut into gradient_accumulation 2",
    "train: {batch_size: 4, replicas: 3}": "train: batch_size 4 cannot be shared by replicas 3",
    "data: {split: {validation: 0.5, test: 0.5}}": "data.split: validation + test must leave a share",
    "data: {preprocess: [{step: resample}]}": "data.preprocess.0: give either spacing_mm or shape",
    "data: {preprocess: [{step: window, window_hu: [5, 5]}]}": "data.preprocess.0.window_hu: the lower bound",
    # YAML
    "seed: 1\nseed: 2": ":3: seed: stands twice",
    "train:\n  steps: 1\n  steps: 2": ":4: steps: stands twice",
    "train: &a {}\nmodel: *a": ":3: YAML aliases (*a) are not allowed",
    "model: !!python/object/apply:os.system ['true']": ":2: YAML tags (tag:yaml.org,2002:python/object/apply",
    "model: !custom {}": ":2: YAML tags (!custom) are not allowed",
    "seed: !!bool x": "YAML tags",
    "seed: !!timestamp x": "YAML tags",
    "1: x": ":2: 1: is not a word and so no key",
    "on: x": ":2: on: is not a word",
    "? [a, b]\n: x": ":2: a list or mapping: is not a word",
    "<<: {seed: 3}": ":2: <<: is not a word",
    "a: b: c": ":2: is not valid YAML",
    "a: [1, 2": "is not valid YAML",
    "\tseed: 3": "is not valid YAML",
    "seed: 2020-99-99": ":2: seed: ",
    f"seed: {'9' * 5000}": "holds a value that cannot be read",
    f"seed: 0x{'f' * 5000}": ":2: seed: ",
    "---\nseed: 2": "is not valid YAML",
    '"two\\nlines": 3': ":2: two lines: unknown setting",
}


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: text[:50].replace("\n", "|"))
def test_refused_with_place_and_key(write, text):
    file = write(f"method: ctsgan\n{text}\n")
    message = refusal(file)
    assert message.startswith(str(file))
    assert REFUSED[text] in message


def test_the_number_of_further_problems_is_told(write):
    assert refusal(write("method: ctsgan\nseed: -1\ntrain: {steps: 0, batch_size: 0}\n")).endswith("(and 2 more)")


@pytest.mark.parametrize("method, fix", [
    ("ctsgann", "unknown method 'ctsgann'; did you mean 'ctsgan'?"), ("zzz", ", fsnet, gan_eval, "), ("3", "missing"),
    ("[a]", "missing"), ("", "missing"), ("os", "unknown method"), ("../fit", "unknown method"),
])  # fmt: skip
def test_unknown_method(write, method, fix):
    assert fix in refusal(write(f"method: {method}\n"))


def test_every_planned_method_is_refused_in_one_line(write):
    for row in registry.catalog():
        if row.status == "planned":
            assert f"unknown method '{row.name}'" in refusal(write(f"method: {row.name}\n"))


@pytest.mark.parametrize("content, fix", [
    (b"", "is empty; start from one of the files"),
    (b"# only a comment\n", "is empty"),
    (b"- a\n- b\n", ":1: must hold 'key: value' lines"),
    (b"just words\n", ":1: must hold 'key: value' lines"),
    (b"\x80\x81\x00\xff" * 50, "is not UTF-8 text"),
    (b"\x00\x01\x02", "is not valid YAML"),
    (b"method: ctsgan\n#" + b"x" * (2 << 20), "larger than 256 KiB"),
    (b"model: " + b"[" * 5000, ":1: nested more than 24 levels deep"),
    (b"model: " + b"{a: " * 5000, ":1: nested more than 24 levels deep"),
    (b"".join(b" " * i + b"a:\n" for i in range(100)), "nested more than 24 levels deep"),
], ids=["empty", "comment", "list", "words", "binary", "control", "2MB", "brackets", "braces", "indents"])  # fmt: skip
def test_files_that_are_no_settings(write, content, fix):
    file = write(content)
    message = refusal(file)
    assert message.startswith(str(file)) and fix in message


def test_an_alias_bomb_is_refused_at_its_first_alias(write):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    assert ":2: YAML aliases (*a0)" in refusal(write("\n".join(lines)))


def test_python_tags_run_nothing(write, tmp_path):
    victim = tmp_path / "made"
    assert "YAML tags" in refusal(write(f"method: !!python/object/apply:os.mkdir ['{victim}']\n"))
    for value in (f"!!python/object/apply:os.mkdir ['{victim}']", f"[!!python/object/apply:os.mkdir ['{victim}']]"):
        assert "seed" in refusal(write("method: ctsgan\n"), f"seed={value}")
    assert not victim.exists()


def test_missing_files_and_folders(tmp_path):
    assert "no such settings file" in refusal(tmp_path / "absent.yaml")
    assert "is a folder" in refusal(tmp_path)
    assert "no such settings file" in refusal(tmp_path / ("x" * 300))


@pytest.mark.parametrize("profile, fix", [("dmeo", "did you mean 'demo'?"), ("zzz", "known: demo, paper")])
def test_unknown_profile(profile, fix):
    assert fix in refusal("configs/ctsgan.yaml", profile=profile)


@pytest.mark.parametrize("text", ["profiles: 3", "profiles: {small: 3}", "profiles: [small]"])
def test_a_profile_that_is_no_mapping(write, text):
    assert "settings.yaml:2: profiles" in refusal(write(f"method: ctsgan\n{text}\n"), profile="small")


def test_an_error_in_a_profile_names_its_line(write):
    file = write("method: ctsgan\nprofiles:\n  small:\n    train:\n      stepz: 3\n")
    assert refusal(file, profile="small").startswith(f"{file}:5: train.stepz: unknown setting; did you mean 'steps'?")


@pytest.mark.parametrize("value, wanted", [
    ("scans #2", "scans #2"), ("*/ct.nii", "*/ct.nii"), ("!x", "!x"), ("a: b", "a: b"), ("0100", "0100"),
    ("1:30", "1:30"), ("2026-01-31", "2026-01-31"), ("'quoted #1'", "quoted #1"), ('"a b"', "a b"), ("%x", "%x"),
    ("~", None), ("", None), ("null", None), ("1e-4", 1e-4), ("-3", -3), (".5", 0.5), ("0x10", 16), ("yes", True),
    ("[a, 1, 0100]", ["a", 1, "0100"]), ("{a: {b: 1:30}}", {"a": {"b": "1:30"}}),
])  # fmt: skip
def test_values_on_the_command_line(value, wanted):
    assert parse_value(value, "here") == wanted


def test_numbers_of_files_are_those_of_the_command_line(write):
    """YAML 1.1 would read 0100 as 64 and 1:30 as 90."""
    for text in ("0100", "1:30", "2026-01-31", "1e-4", "12", "-1.5", "0x10", "no", "~"):
        values, _ = read_yaml(write(f"method: {text}\n"))
        assert values["method"] == parse_value(text, "here")
    options = tfmed.load_config(write("method: ctsgan\ndata: {options: {a: 0100, b: 1:30}}\n")).data.options
    assert options == {"a": "0100", "b": "1:30"}
    assert tfmed.load_config(write("method: ctsgan\ntrain: {steps: 0100}\n")).train.steps == 100


def test_home_folder_in_settings(write, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    loaded = tfmed.load_config(write("method: ctsgan\ndata: {root: ~/scans}\n"), ["data.cache_dir=~/cache"])
    assert (loaded.data.root, loaded.data.cache_dir) == (f"{tmp_path}/scans", f"{tmp_path}/cache")


@pytest.mark.parametrize("override, fix", [
    ("train.stepz=3", "command line: train.stepz: unknown setting; did you mean 'steps'?"),
    ("train.steps=x", "command line: train.steps: input should be a valid integer"),
    ("train.steps=", "command line: train.steps"),
    ("train.steps.x=3", "command line: train.steps"),
    ("train=3", "command line: train"),
    ("method=ctsgam", "command line: method: unknown method"),
    ("train.steps", "an override is written key=value"),
    ("=3", "an override is written key=value"),
    ("..=3", "unknown setting"),
    ("train.steps=[1", "is not valid YAML"),
    ("train.steps=a: b", "input should be a valid integer"),
    ("train.steps=*x", "input should be a valid integer"),
    ("data.options={pattern: *x}", "YAML aliases (*x)"),
    ("data.root=~nobody-of-that-name/x", "there is no such user"),
    ('data.root="a\\0b"', "null characters"),
    ("data.root=a\0b", "null character"),
    ("seed=18446744073709551616", "beyond"),
    ("train.batch_size=1000000000", "less than or equal to"),
    ("train.replicas=1000000", "less than or equal to"),
    ("model.volume_shape=[1e31, 8, 8]", "beyond reason"),
    ("data.preprocess=[{step: resample, spacing_mm: [1e-9, 1, 1]}]", "spacing_mm"),
    ("base=x.yaml", "'base' cannot be overridden"),
    ("profiles.demo.seed=3", "'profiles' cannot be overridden"),
    ("train.steps=1\nbase: x", "holds more than one setting"),
])  # fmt: skip
def test_wrong_overrides(override, fix):
    assert fix in refusal("configs/ctsgan.yaml", override)


# --- any content at all -----------------------------------------------------------------------------------------------

KNOWN = """method seed profile data train model base profiles source options split preprocess step steps batch_size
schedule kind early_stopping volume_shape generator_channels shape spacing_mm window_hu learning_rate slab_length
baseline_size gradient_accumulation replicas"""
KEYS = st.sampled_from(KNOWN.split()) | st.text(max_size=6)
WORDS = st.sampled_from(["ctsgan", "phantom_chest_ct", "window", "resample", "orient", "RAS", "cosine", "js", "none"])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.text(max_size=6)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)


def loads_or_refuses(file, **arguments):
    try:
        loaded = tfmed.load_config(file, **arguments)
    except ConfigError as error:
        assert "\n" not in str(error) and str(error)
    else:
        assert loaded.method == "ctsgan" and not math.isnan(loaded.model.learning_rate)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sections=st.dictionaries(KEYS, JSON, max_size=5))
def test_any_mapping_loads_or_is_refused_in_one_line(write, sections):
    text = yaml.safe_dump({"method": "ctsgan"} | sections, allow_unicode=False)
    loads_or_refuses(write(text))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(alphabet="abms: -[]{}&*!?|>'\"#%@`,\n\t0123.e~<=\\u", max_size=40) | st.text(max_size=30))
def test_any_text_loads_or_is_refused_in_one_line(write, text):
    loads_or_refuses(write("method: ctsgan\n" + text.encode("utf-8", "replace").decode()))
    loads_or_refuses(write("method: ctsgan\n"), overrides=[text])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_value_of_any_known_setting_loads_or_is_refused(write, data):
    known = {f"{section}.{name}" for section, kind in registry.settings_class("ctsgan").model_fields.items()
             for name in getattr(kind.annotation, "model_fields", ())}  # fmt: skip
    key = data.draw(st.sampled_from(sorted(known)))
    value = data.draw(st.integers(-3, 600) | st.lists(st.integers(-3, 300), max_size=6) | JSON)
    section, name = key.split(".")
    loads_or_refuses(write({"method": "ctsgan", section: {name: value}}))
