"""`tfmed annotate`: from painting, or choosing a class, in a browser to what the next round is trained on."""

import contextlib
import dataclasses
import json
import os
import re
import signal
import threading
import urllib.error
import urllib.request

import numpy as np
import pytest

import tfmed
from tests.methods.test_active_learning_cls import pictures_that_wait
from tests.support import browser
from tfmed import annotate, cli
from tfmed.data.class_answers import read_answers, write_query
from tfmed.data.desks import ClassDesk
from tfmed.engine import annotation_page
from tfmed.errors import DataError, RunError
from tfmed.io import read_volume, write_volume

pytestmark = pytest.mark.one_stack
SLICES = (
    "data.options={cases: 6, shape: [12, 24, 24], length_mm: 240.0, unlabelled: 3}",
    "data.split={validation: 0.34, test: 0.34}",
    "data.preprocess=[{step: window, window_hu: [-200, 250], range: [0, 1]}]",
    "model.patch=[4, 24, 24]",
    "model.network={name: aunet, widths: [4, 6], dropout: 0.25}",
    "model.initial_volumes=1",
)


def run_folder(settings, folder):
    """A run's directory of which nothing is trained: enough to be asked for its desk."""
    folder.mkdir(exist_ok=True)
    (folder / "config.yaml").write_text(json.dumps(settings.model_dump(mode="json")), encoding="utf-8")
    return folder


def method_of(settings):
    return tfmed.registry.method_class(settings.method)(settings)


@pytest.fixture
def asked(tmp_path):
    """(method that asks for two slices, their case, the run's directory); the network's drafts are empty."""
    settings = tfmed.load_config("uss", (*SLICES, f"model.annotations={tmp_path / 'desk'}"))
    method = method_of(settings)
    case = next(case for case in method.pool_cases.values() if case.label is None)
    method.desk.ask(1, case, [4, 7], method.open(case), lambda: np.zeros((12, 24, 24), np.uint8))
    return method, case, run_folder(settings, tmp_path / "run")


@contextlib.contextmanager
def served(method, folder):
    """The page's server."""
    with annotation_page.server(method.desk_of(folder), "a <b> & c", str(folder)) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server
        server.shutdown()


def test_from_painting_to_what_the_next_round_is_trained_on(asked, tmp_path):
    method, case, folder = asked
    first, second = (f"{case.id}_z{z:04d}" for z in (4, 7))
    done, drafts = tmp_path / "desk" / "round1" / "done", tmp_path / "desk" / "round1" / "drafts"
    with served(method, folder) as server, browser.chromium() as chromium:
        page, wrong, seen = browser.page(chromium)
        page.goto(server.address)
        page.evaluate("annotate.ready")
        assert page.evaluate("annotate.place") == [first, 0] and page.locator("h1").text_content() == "a <b> & c"
        before = browser.pixels(page.locator("#stage"))
        box = page.locator("#marks").bounding_box()
        pixel = box["width"] / 24

        def at(row, column):
            return box["x"] + (column + 0.5) * pixel, box["y"] + (row + 0.5) * pixel

        page.locator("#size").evaluate("(one) => { one.value = 1 }")
        page.mouse.move(*at(6, 5))  # a square ring by the brush, its inside by filling
        page.mouse.down()
        for corner in ((6, 12), (13, 12), (13, 5), (6, 5)):
            page.mouse.move(*at(*corner), steps=8)
        page.mouse.up()
        page.click("#fill")
        page.mouse.click(*at(9, 9))
        page.mouse.click(*at(0, 0))  # around it: a slip
        page.click("#undo")
        page.evaluate("annotate.saved")
        expected = np.zeros((24, 24), np.uint8)
        expected[6:14, 5:13] = 1
        assert np.array_equal(np.array(page.evaluate("Array.from(annotate.plane)")).reshape(24, 24), expected)
        assert np.abs(browser.pixels(page.locator("#stage")) - before).max() > 40
        with pytest.raises(RunError, match="0 of 2"):  # saved is not finished
            method.collect([method.first_volumes(), {case.id: [4, 7]}])
        page.close()

        page, wrong_again, seen_again = browser.page(chromium)  # a page that was closed has lost nothing
        page.goto(server.address)
        page.evaluate("annotate.ready")
        assert np.array_equal(np.array(page.evaluate("Array.from(annotate.plane)")).reshape(24, 24), expected)
        assert page.locator("nav .begun").text_content() == first
        page.click("#finish")
        page.wait_for_selector(f"nav .done >> text={first}")
        page.wait_for_selector(f"nav [aria-current=true] >> text={second}")
        page.keyboard.press("Enter")  # the network's outline is right
        page.wait_for_selector("text=Round 1 is finished")
        assert [*wrong, *wrong_again] == []
        assert all(address.startswith(server.address) for address in (*seen, *seen_again))
    assert sorted(path.name for path in done.iterdir()) == [f"{first}_label.nii.gz", f"{second}_label.nii.gz"]
    assert not list(drafts.iterdir())

    method.collect([method.first_volumes(), {case.id: [4, 7]}])
    label = np.asarray(method.open(case).label)
    hung = np.zeros_like(expected)  # the page shows the patient's right on the left, and anterior above
    hung[:] = expected[::-1, ::-1]
    np.testing.assert_array_equal(label[4], hung)
    assert label.sum() == expected.sum()
    sample = method.samples(method.pool([{case.id: [4, 7]}])).read(0)
    assert sample["label"][np.array(sample["annotated"], bool)].any()


def put(server, address, body=b""):
    """(status, text) of a request of the page."""
    request = urllib.request.Request(server.address + address, body, method="PUT")
    try:
        with urllib.request.urlopen(request, timeout=20) as found:
            return found.status, found.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_what_is_no_outline_changes_nothing(asked, tmp_path):
    method, case, folder = asked
    name, plane = f"{case.id}_z0004", bytes(24 * 24)
    with served(method, folder) as server:
        files = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        for address, body, status in (
            (f"label?sheet={name}&z=0", plane[:-1], 400), (f"label?sheet={name}&z=0", b"\x02" + plane[1:], 409),
            (f"label?sheet={name}&z=1", plane, 404), (f"label?sheet={name}&z=-1", plane, 404),
            (f"label?sheet=../todo/{name}&z=0", plane, 404), (f"label?sheet={name}", plane, 400),
            ("label?sheet=%2Fetc%2Fpasswd&z=0", plane, 404), ("finish?sheet=..", b"", 404),
            ("answer?sheet=x", b"", 404), (f"label?sheet={name}&z=0", bytes(4097), 413),
        ):  # fmt: skip
            assert put(server, address, body)[0] == status, address
        assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == files
        outside = tmp_path / "outside"
        outside.mkdir()
        (tmp_path / "desk" / "round1" / "drafts").symlink_to(outside)
        status, said = put(server, f"label?sheet={name}&z=0", plane)
        assert status == 409 and "leads out of" in said and "\n" not in said and not list(outside.iterdir())


def test_a_damaged_draft_is_told_and_an_answer_of_another_program_is_shown(asked, tmp_path):
    method, case, folder = asked
    names, todo = [f"{case.id}_z{z:04d}" for z in (4, 7)], tmp_path / "desk" / "round1" / "todo"
    drawn = read_volume(todo / f"{names[0]}_label.nii.gz")
    drawn = drawn.replace(array=np.random.default_rng(0).integers(0, 2, drawn.array.shape).astype(np.uint8))
    write_volume(drawn, todo.parent / "done" / f"{names[0]}_label.nrrd")
    desk = method.desk_of(folder)
    assert [sheet.state for sheet in desk.sheets()] == ["done", "open"]
    np.testing.assert_array_equal(desk.drawn(names[0], 0)[::-1, ::-1], drawn.array[0])
    desk.save(names[1], 0, desk.drawn(names[0], 0))
    draft = todo.parent / "drafts" / f"{names[1]}_label.nii.gz"
    draft.write_bytes(draft.read_bytes()[:-9])
    with served(method, folder) as server:
        status, said = put(server, f"finish?sheet={names[1]}")
    assert status == 409 and draft.name in said and not (todo.parent / "done" / f"{names[1]}_label.nii.gz").exists()


@pytest.fixture
def waiting(tmp_path):
    """(method of classes, ids that its first round asks for, the run's directory)."""
    pictures_that_wait(tmp_path / "images")
    settings = tfmed.load_config("active_learning_cls", (
        "data.source=image_folder", f"data.root={tmp_path / 'images'}", "data.split={validation: 0.2, test: 0.2}",
        "model.classes=[disc, ring]", f"model.answers={tmp_path / 'answers.csv'}", "model.size=[16, 16]",
        "model.rounds=1", "model.initial_share=0.1", "model.query_share=0.2", "model.repeats=1"))  # fmt: skip
    method = method_of(settings)
    asked = [one for one, case in method.pool_cases.items() if case.meta["class"] == "unlabelled"][:2]
    write_query(tmp_path / "run" / "queries" / "round1.csv", [method.pool_cases[one] for one in asked], {})
    return method, asked, run_folder(settings, tmp_path / "run")


def test_from_choosing_a_class_to_what_the_next_round_is_trained_on(waiting, tmp_path):
    method, asked, folder = waiting
    with served(method, folder) as server, browser.chromium() as chromium:
        page, wrong, _ = browser.page(chromium)
        page.goto(server.address)
        page.evaluate("annotate.ready")
        shown = browser.pixels(page.locator("#stage"))
        assert shown.std() > 30 and page.evaluate("annotate.place") == [asked[0], 0]
        page.get_by_role("button", name="ring").click()
        page.wait_for_selector(f"nav >> text={asked[0]}: ring")
        page.wait_for_selector(f"nav [aria-current=true] >> text={asked[1]}")
        page.keyboard.press("2")
        page.wait_for_selector(f"nav >> text={asked[1]}: ring")
        page.click("#undo")  # a slip
        page.wait_for_selector(f"nav .open >> text={asked[1]}")
        page.keyboard.press("1")
        page.wait_for_selector(f"nav >> text={asked[1]}: disc")
        page.wait_for_selector("text=Round 1 is finished")
        assert wrong == []
    assert method.answers(1, [asked], {}) == {asked[0]: "ring", asked[1]: "disc"}


def test_answers_in_a_table_keep_what_a_person_wrote(waiting, tmp_path):
    method, asked, folder = waiting
    table = tmp_path / "answers.csv"
    table.write_text(f"# by hand\nid;class;why\n{asked[0]};ring;a hole\n", encoding="utf-8")
    desk = method.desk_of(folder)
    desk.answer(asked[1], "disc")
    text = table.read_text(encoding="utf-8")
    assert text.startswith("# by hand\n") and "a hole" in text
    assert {sheet.name: sheet.answer for sheet in desk.sheets()} == {asked[0]: "ring", asked[1]: "disc"}
    with pytest.raises(DataError, match="no class 'square'"):
        desk.answer(asked[0], "square")
    assert table.read_text(encoding="utf-8") == text
    (folder / "records").mkdir()
    (folder / "records" / "answers1.json").write_text("{}", encoding="utf-8")  # the run has gone on
    with pytest.raises(RunError, match="asks for nothing now"):
        desk.sheets()


def test_answers_in_a_folder_are_moved(waiting, tmp_path):
    method, asked, folder = waiting
    place, cases = tmp_path / "sorted", [method.pool_cases[one] for one in asked]
    (place / "disc").mkdir(parents=True)
    (place / "disc" / f"{asked[0]}.png").write_bytes(b"a copy")
    desk = ClassDesk(folder / "queries", place, ("disc", "ring"), lambda number: False)
    desk.answer(asked[0], "ring")
    desk.answer(asked[1], "ring")
    desk.answer(asked[1], "disc")
    assert read_answers(place, ("disc", "ring"), cases) == {asked[0]: "ring", asked[1]: "disc"}
    assert (place / "ring" / f"{asked[0]}.png").read_bytes() == b"a copy"
    desk.answer(asked[1], "")
    assert read_answers(place, ("disc", "ring"), cases) == {asked[0]: "ring"}


def test_ids_of_any_text_can_be_answered(waiting, tmp_path):
    method, asked, folder = waiting
    case = method.pool_cases[asked[0]]
    names = ['a,"b"', "#1", "x/../y.nii", "\u00e4 <b>"]
    write_query(folder / "queries" / "round1.csv", [dataclasses.replace(case, id=name) for name in names], {})
    for place in (tmp_path / "any.csv", tmp_path / "any"):
        if not place.suffix:
            place.mkdir()
        desk = ClassDesk(folder / "queries", place, ("disc", "ring"), lambda number: False)
        for k, name in enumerate(names):
            desk.answer(name, ("disc", "ring")[k % 2])
        assert [(sheet.name, sheet.answer) for sheet in desk.sheets()] == list(
            zip(names, ["disc", "ring"] * 2, strict=True)
        )


def test_the_verb_serves_until_it_is_interrupted(asked, tmp_path, capfd):
    _, case, folder = asked
    seen = {}

    def person():
        while not (found := re.search(r"http://\S+", seen.setdefault("said", "") or "")):
            seen["said"] += capfd.readouterr().out
        with urllib.request.urlopen(found[0] + "sheets", timeout=20) as answer:
            seen["table"] = json.loads(answer.read())
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=person, daemon=True).start()
    assert cli.run(annotate.main, [str(folder)]) == 0
    assert [sheet["name"] for sheet in seen["table"]["sheets"]] == [f"{case.id}_z0004", f"{case.id}_z0007"]
    assert [one["name"] for one in seen["table"]["classes"]] == ["background", "liver"]


@pytest.mark.parametrize("overrides, said", [
    (("uss", SLICES), "asks nobody"), (("uss", (*SLICES, "model.annotations=PLACE/none")), "asks for nothing yet"),
    (("equireg", ()), "asks a person for nothing"), (("active_learning_cls", ()), "asks nobody"),
])  # fmt: skip
def test_runs_that_ask_for_nothing_are_told(overrides, said, tmp_path, capsys):
    name, words = overrides
    settings = tfmed.load_config(name, [word.replace("PLACE", str(tmp_path)) for word in words])
    assert cli.run(annotate.main, [str(run_folder(settings, tmp_path / "run"))]) == 2
    line = capsys.readouterr().err
    assert said in line and line.count("\n") == 1
