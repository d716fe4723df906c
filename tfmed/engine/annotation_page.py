"""The page at which a person answers what a run asks for; see `tfmed.data.desks`."""

import dataclasses
import functools
import threading
from typing import Any

import numpy as np

from tfmed.data.desks import ClassDesk, Sheet, SliceDesk
from tfmed.engine.local_server import Answer, LocalServer, Unknown, as_json
from tfmed.engine.templating import template
from tfmed.pictures.niivue import png


def server(desk: SliceDesk | ClassDesk, title: str, run: str, port: int = 0) -> LocalServer:
    """A LocalServer of a desk's page.

    Args:
        desk: the desk.
        title: of the page.
        run: the run's directory, for the word how it goes on.
        port: 0: one that is free.

    Raises:
        RunError: nothing is asked for, or the port is taken.
    """
    sheets = desk.sheets()
    one_at_a_time = threading.Lock()

    def sheet_of(arguments: dict[str, str]) -> Sheet:
        sheet = desk.sheet(arguments["sheet"])
        if sheet is None:
            raise Unknown(arguments["sheet"])
        return sheet

    def place_of(arguments: dict[str, str]) -> tuple[Sheet, int]:
        sheet, z = sheet_of(arguments), int(arguments["z"])
        if not 0 <= z < sheet.shape[0]:
            raise Unknown(f"slice {z}")
        return sheet, z

    def page(arguments: dict[str, str]) -> Answer:
        text = template("annotate.html").render(title=title, kind=desk.kind)
        return "text/html", text.encode()

    def table(arguments: dict[str, str]) -> Answer:
        classes = [{"name": name, "colour": list(colour)} for name, colour in desk.classes]
        return as_json({"kind": desk.kind, "number": desk.number, "place": desk.place, "run": run, "classes": classes,
                        "sheets": [dataclasses.asdict(sheet) for sheet in desk.sheets()]})  # fmt: skip

    def image(arguments: dict[str, str]) -> Answer:
        sheet, z = place_of(arguments)
        if arguments["image"] not in sheet.images:
            raise Unknown(arguments["image"])
        return "image/png", png(desk.image(sheet.name, arguments["image"], z))

    gets: dict[str, Any] = {"": page, "sheets": table, "image": image}
    puts: dict[str, Any] = _slice_routes(desk, gets, sheet_of, place_of) if isinstance(desk, SliceDesk) else {
        "answer": lambda arguments, body: _done(desk.answer, sheet_of(arguments).name, body.decode())}  # fmt: skip
    for name, route in puts.items():
        puts[name] = functools.partial(_alone, one_at_a_time, route)
    largest = max((sheet.shape[1] * sheet.shape[2] for sheet in sheets), default=0)
    return LocalServer(gets, puts, max(largest, 4096), port)


def _slice_routes(desk: SliceDesk, gets: dict[str, Any], sheet_of: Any, place_of: Any) -> dict[str, Any]:
    def label(arguments: dict[str, str]) -> Answer:
        sheet, z = place_of(arguments)
        return "application/octet-stream", desk.drawn(sheet.name, z).tobytes()

    def save(arguments: dict[str, str], body: bytes) -> Answer:
        sheet, z = place_of(arguments)
        plane = np.frombuffer(body, np.uint8).reshape(sheet.shape[1:])  # ValueError where it is of another size
        return _done(desk.save, sheet.name, z, plane)

    def finish(arguments: dict[str, str], body: bytes) -> Answer:
        return _done(desk.finish, sheet_of(arguments).name)

    gets["label"] = label
    return {"label": save, "finish": finish}


def _alone(lock: threading.Lock, route: Any, arguments: dict[str, str], body: bytes) -> Answer:
    """Two pages that are open at once do not write at once."""
    with lock:
        return route(arguments, body)


def _done(write: Any, *arguments: Any) -> Answer:
    write(*arguments)
    return "text/plain", b"saved"
