"""Three photographs in twelve captioned crops, and whether a model gives them back by caption.

    python -m docs.photographs write DIR
    python -m docs.photographs compare DIR MODEL

The first writes the crops, a .png and a .txt each. It takes the photographs from scikit-learn and
matplotlib (pip install scikit-learn matplotlib), which nothing else here needs. The second draws
each caption once, prints which crop the picture is nearest to and how near it is to its own, and
writes docs/photographs.png: crops above, what was drawn from their captions below.
"""

import textwrap
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from glide_jax import Pipeline, cli
from glide_jax.data.sources import open_folder, read_example
from glide_jax.images import save_png

FIGURE = Path(__file__).with_suffix(".png")
PHOTOGRAPHS = {
    "china": ("sklearn", "datasets/images/china.jpg"),
    "flower": ("sklearn", "datasets/images/flower.jpg"),
    "hopper": ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
}
# Photograph, (left, top, side) in its pixels, caption.
CROPS = (
    ("china", (0, 0, 427), "a pagoda above a lake"),
    ("china", (85, 20, 240), "the roofs of a pagoda"),
    ("china", (75, 215, 170), "a red balcony with orange tiles"),
    ("china", (400, 187, 240), "trees by a lake"),
    ("flower", (167, 75, 290), "an orange flower"),
    ("flower", (240, 155, 130), "the heart of an orange flower"),
    ("flower", (140, 150, 140), "petals before dark leaves"),
    ("hopper", (6, 0, 500), "a woman in uniform"),
    ("hopper", (150, 120, 220), "the face of a woman with glasses"),
    ("hopper", (190, 20, 130), "an eagle on a navy cap"),
    ("hopper", (0, 40, 150), "white stars on a flag"),
    ("hopper", (320, 470, 130), "medals on a dark jacket"),
)
SIDE = 64
# Captions alone, not what goes beyond them: guidance would overdraw a picture known by heart.
SETTINGS = {"guidance_scale": 1.0, "sampler": "ancestral", "steps": 100, "seed": 0}
SHOWN, GAP, TEXT, COLUMNS = 128, 6, 13, 6


def find_photograph(name):
    """Where a package keeps a photograph; a ValueError says what to install."""
    package, inside = PHOTOGRAPHS[name]
    spec = find_spec(package)
    path = spec and Path(spec.origin).parent / inside
    if not path or not path.exists():
        raise ValueError(
            f"{Path(inside).name} comes with {package} and is not there: "
            "pip install scikit-learn matplotlib"
        )
    return path


def write(folder):
    """Writes the crops, SIDE pixels a side, into a folder, with a caption beside each."""
    photographs = {name: Image.open(find_photograph(name)).convert("RGB") for name in PHOTOGRAPHS}
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for i, (name, (left, top, side), caption) in enumerate(CROPS):
        box = left, top, left + side, top + side
        crop = photographs[name].resize((SIDE, SIDE), Image.Resampling.LANCZOS, box)
        crop.save(folder / f"{i:02d}-{name}.png")
        (folder / f"{i:02d}-{name}.txt").write_text(f"{caption}\n")
    print(f"{folder}/: {len(CROPS)} crops with captions")


def compare(folder, model):
    """Draws each caption in a folder once, says how near that is, and saves the figure."""
    pipeline, source = Pipeline.load(model), open_folder(folder)
    size = pipeline.model.unet.image_size
    crops, captions = zip(*(read_example(source, i, size) for i in range(len(source))), strict=True)
    captions = [own[0] for own in captions]
    drawn = pipeline.text_to_image(captions, progress=True, **SETTINGS)
    errors = squared_errors(drawn, np.stack(crops))
    nearest, own = errors.argmin(axis=1), errors.diagonal()
    ratios = 10 * np.log10(255**2 / np.maximum(own, 1e-9))
    for i, caption in enumerate(captions):
        print(f"{caption}: nearest is {captions[nearest[i]]!r}, PSNR to its own {ratios[i]:.1f} dB")
    right = int((nearest == np.arange(len(captions))).sum())
    print(f"{right} of {len(captions)} are nearest to the crop of their caption")
    print(f"PSNR {ratios.min():.1f} to {ratios.max():.1f} dB, median {np.median(ratios):.1f} dB")
    save_png(FIGURE, figure(crops, drawn, captions), SETTINGS | {"prompts": captions})


def squared_errors(drawn, crops):
    """Mean squared error of each drawn picture to each crop, both uint8: [drawn, crops]."""
    difference = drawn[:, None].astype(np.float32) - crops[None]
    return np.square(difference).mean(axis=(2, 3, 4))


def figure(crops, drawn, captions):
    """uint8 [H, W, 3]: banks of COLUMNS crops, each above what was drawn and its caption."""
    font = ImageFont.load_default(TEXT)
    bank, margin = 2 * (SHOWN + GAP) + 3 * TEXT + 2 * GAP, 7 * TEXT
    columns = min(COLUMNS, len(captions))
    banks = -(-len(captions) // columns)
    canvas = Image.new("RGB", (margin + columns * (SHOWN + GAP), banks * bank + GAP), "white")
    draw = ImageDraw.Draw(canvas)
    for i, caption in enumerate(captions):
        row, column = divmod(i, columns)
        left, top = margin + column * (SHOWN + GAP), GAP + row * bank
        for k, image in enumerate((crops[i], drawn[i])):
            shown = Image.fromarray(image).resize((SHOWN, SHOWN), Image.Resampling.NEAREST)
            canvas.paste(shown, (left, top + k * (SHOWN + GAP)))
        below = top + 2 * (SHOWN + GAP)
        draw.text((left, below), textwrap.fill(caption, SHOWN // 7), "black", font)
        if column == 0:
            for k, name in enumerate(("photograph", "drawn")):
                middle = top + k * (SHOWN + GAP) + SHOWN // 2
                draw.text((GAP, middle), name, "black", font, anchor="lm")
    return np.asarray(canvas)


def main(arguments):
    """Parses and runs."""
    match arguments:
        case ["write", folder]:
            write(folder)
        case ["compare", folder, model]:
            compare(folder, model)
        case _:
            raise ValueError("say write DIR, or compare DIR MODEL")


if __name__ == "__main__":
    cli.entry_point(main, "docs.photographs")
