"""Pictures as files for the browser: each is written once, and whole.

Gradio itself writes a picture's file anew each time that the picture is shown, also while a browser
reads it, which then has half of it.
"""

import hashlib
import json
import os
import secrets
from pathlib import Path

from gradio.utils import get_upload_folder

from glide_jax.images import save_png

SECRET = secrets.token_bytes(32)  # so that nobody can guess where another one's pictures are


def served(image, settings=None):
    """The path, in the folder that Gradio serves and clears, of a PNG of uint8 [H, W, 3].

    `settings`, a dict, are in its metadata, where `read_settings` looks for them.
    """
    settings = settings or {}
    about = json.dumps([image.shape, settings]).encode()
    key = hashlib.blake2b(about + image.tobytes(), key=SECRET, digest_size=32).hexdigest()
    path = Path(get_upload_folder(), key, "picture.png")
    try:
        os.utime(path)  # Gradio removes what was not shown for an hour
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_png(path, image, settings)
    return str(path)
