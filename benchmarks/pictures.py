r"""Draw the pictures of docs/quantify.md: parts of a page of `auglean quantify`, as a browser shows them.

    auglean fit --data MNIST --limit 3000 --network convnet-w8-d2-none --policy rotate15 --steps 300 --out trained
    auglean quantify --data MNIST --limit 3000 --policy translate2-rotate15 --policies rotate15,cutout8 \
        --model trained/model.safetensors --images 60 --out quantified
    python benchmarks/pictures.py quantified/report.html

MNIST is a folder of Parquet files. A Chromium that can run without a screen must be installed
(`apt-get install chromium`).
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from auglean.errors import InputError

DOCS = Path(__file__).parents[1] / "docs"
#: Pictures, each with the sections of the page that it shows.
PICTURES = {"quantify.png": ("gallery", "spectra", "draws"), "quantify-network.png": ("network",)}
WIDTH, TALL = 860, 4000  # of the window, in pixels; what is left blank below is cut off
COLOURS = 256  # are enough for a page, and keep the file small


def only(text: str, sections: tuple[str, ...]) -> str:
    """Leave the sections of these ids alone in a page."""
    text = re.sub(r"<header.*?</header>|<footer.*?</footer>|<div class=\"answer\".*?</div>", "", text, flags=re.DOTALL)

    def kept(match: re.Match[str]) -> str:
        return match[0] if match[1] in sections else ""

    return re.sub(r'<section id="([a-z]+)">.*?</section>', kept, text, flags=re.DOTALL)


def shoot(browser: str, text: str, target: Path) -> None:
    """Let a browser draw a page, cut off what is blank, and keep few colours."""
    from PIL import Image, ImageChops

    with tempfile.TemporaryDirectory() as folder:
        source, picture = Path(folder) / "page.html", Path(folder) / "page.png"
        source.write_text(text)
        window = ["--headless", "--no-sandbox", "--hide-scrollbars", f"--window-size={WIDTH},{TALL}"]
        command = [browser, *window, f"--screenshot={picture}", source.as_uri()]
        subprocess.run(command, check=True, capture_output=True)
        image = Image.open(picture).convert("RGB")
        drawn = ImageChops.difference(image, Image.new("RGB", image.size, image.getpixel((0, 0)))).getbbox()
        image = image.crop((0, max(0, drawn[1] - 12), WIDTH, drawn[3] + 12))
        image.quantize(COLOURS, method=Image.Quantize.MEDIANCUT).save(target, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("page", type=Path, help="report.html of a run of auglean quantify with a model")
    parser.add_argument("--browser", help="Default: chromium, or chrome.")
    options = parser.parse_args()
    names = [options.browser] if options.browser else ["chromium", "chromium-browser", "google-chrome"]
    browser = next((found for found in map(shutil.which, names) if found), None)
    if browser is None:
        raise InputError(f"No browser was found as {' or '.join(names)}; install one, or name it as --browser.")
    text = options.page.read_text()
    for name, sections in PICTURES.items():
        shoot(browser, only(text, sections), DOCS / name)
        print(DOCS / name)


if __name__ == "__main__":
    main()
