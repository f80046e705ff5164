"""The pictures of README and docs. ``make screenshots`` puts them into docs/images."""

import os
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Page

#: Without it, the pictures are only made, to see that each page is shown.
FOLDER = os.environ.get("WAGTAIL_SMTP_SCREENSHOTS")


class Pictures:
    """Pictures of a page, in a folder."""

    def __init__(self, page: Page, folder: Path) -> None:
        self._page = page
        self.folder = Path(FOLDER or folder)
        page.emulate_media(reduced_motion="reduce", color_scheme="light")

    def of(self, name: str, *parts: str) -> None:
        """A picture from the first of some parts of the page to the last, given as selectors."""
        size = self._page.viewport_size
        assert size is not None
        # High enough that no bar covers anything.
        self._page.set_viewport_size({"width": size["width"], "height": 4000})
        boxes = [self._page.locator(part).first.bounding_box() for part in parts]
        assert all(boxes), parts
        left = min(box["x"] for box in boxes if box) - 20
        top = min(box["y"] for box in boxes if box) - 20
        right = max(box["x"] + box["width"] for box in boxes if box) + 20
        bottom = max(box["y"] + box["height"] for box in boxes if box) + 20
        clip = {"x": left, "y": top, "width": right - left, "height": bottom - top}
        self.take(name, clip=clip)
        self._page.set_viewport_size(size)

    def take(self, name: str, **options: Any) -> None:
        """A picture of what is seen now, without a cursor."""
        self._page.wait_for_load_state("networkidle")
        self._page.evaluate("document.activeElement && document.activeElement.blur()")
        file = self.folder / f"{name}.png"
        self._page.screenshot(path=file, **options)
        # A palette is enough for pages of few colours, and a third of the size.
        with Image.open(file) as image:
            image.convert("RGB").quantize(128, dither=Image.Dither.NONE).save(file, optimize=True)
