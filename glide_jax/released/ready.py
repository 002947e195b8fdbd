"""The published models by name: fetched and converted when they are first asked for."""

from pathlib import Path

from glide_jax.model_folder import PUBLISHED, published_folder
from glide_jax.released.convert import convert
from glide_jax.released.fetch import MODELS, fetch, look_up


def ready(name, cache=None, url=None, vocab=None, progress=True):
    """Makes a published model, glide-NAME, one that `model_folder.find_model` finds.


    Args:
        name: of a model, or a folder.
        cache, url, progress: see `fetch.fetch`.
        vocab: see `convert.convert`.

    Returns:
        Its folder; other names, and folders, as they are.

    Raises:
        ValueError: there is no such published model.
        OSError: it cannot be fetched or written.
    """
    if not str(name).startswith(PUBLISHED):
        return name
    folder = Path(published_folder(name, cache))
    if (Path(name) / "config.json").exists():
        return name
    if not (folder / "config.json").exists():
        paths = [fetch(part, cache, url, progress) for part in look_up(name, MODELS)]
        convert(paths, folder, vocab=vocab, cache=cache)
    return folder
