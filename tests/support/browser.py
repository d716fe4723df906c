"""A headless Chromium for tests of pages; they skip where there is none."""

import contextlib
import io
import os
import shutil

import numpy as np
import pytest
from PIL import Image

FOUND = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist")  # WebGL without a GPU


@contextlib.contextmanager
def chromium():
    """A browser; its pages are made by `page`."""
    if FOUND is None:
        pytest.skip("Chromium is not installed (Debian: apt-get install chromium)")
    from playwright import sync_api

    sandbox = [] if os.geteuid() else ["--no-sandbox"]
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=FOUND, args=[*FLAGS, *sandbox])
        yield found
        found.close()


def page(browser, **options):
    """(a new page, list of what went wrong on it, list of the addresses that it asked for beyond its own data)."""
    shown = browser.new_page(viewport={"width": 900, "height": 700}, **options)
    wrong, asked = [], []
    shown.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
    shown.on("pageerror", lambda error: wrong.append(str(error)))
    shown.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
    shown.on("request", lambda one: None if one.url.startswith(("data:", "blob:")) else asked.append(one.url))
    return shown, wrong, asked


def pixels(element):
    """What is seen of an element, int16 `(y, x, 3)`."""
    with Image.open(io.BytesIO(element.screenshot())) as image:
        return np.asarray(image.convert("RGB"), np.int16)
