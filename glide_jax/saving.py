"""Pictures written as the command line asks, a grid or a file each, with how they were made."""

import json

from glide_jax import cli
from glide_jax.files import write_text


def is_folder(out):
    """Whether the pictures go into a folder, a file each."""
    return out.is_dir() or not out.suffix


def check_output(out):
    """Fails before the work, not after it, where the pictures could not be written."""
    if not is_folder(out) and out.suffix.lower() != ".png":
        raise ValueError(f"--out is {str(out)!r}; it must be a .png file or a folder")
    cli.check_local("--out", out)
    cli.check_folder("--out", out if is_folder(out) else out.parent)


def save(drawn, prompts, arguments, settings):
    """Writes a grid, of several prompts a row for each, or a file a picture; says what it wrote.

    Args:
        drawn: the `reranking.Drawn`. Its scores, if any, also go into a JSON file beside.
        prompts: a list of strings: `num` pictures for each, or one after each edit.
        arguments: those of sample.py.
        settings: what the pictures' metadata say.
    """
    write = _save_files if is_folder(arguments.out) else _save_grid
    return write(drawn, prompts, arguments, settings)


def _save_grid(drawn, prompts, arguments, settings):
    from glide_jax.images import enlarge, make_grid, save_png

    out, editing, images = arguments.out, arguments.editing, drawn.images
    columns = arguments.num if len(prompts) > 1 and editing.edits is None else None
    # A single edited picture is what it was before, not an exhibit: no frame, its own size.
    alone = editing.image is not None and len(images) == 1
    shown = images[0] if alone else enlarge(make_grid(images, columns), 512)
    out.parent.mkdir(parents=True, exist_ok=True)
    save_png(out, shown, settings | {"prompts": prompts} | _ranked(drawn, slice(None)))
    each = [{"prompt": prompts[i // arguments.num]} for i in range(len(images))]
    _save_scores(out.with_name(f"{out.stem}-scores.json"), drawn, each, arguments)
    return f"{out}: {len(images)} pictures"


def _save_files(drawn, prompts, arguments, settings):
    from glide_jax.images import save_png

    out, edits, each = arguments.out, arguments.editing.edits, []
    out.mkdir(parents=True, exist_ok=True)
    for i, image in enumerate(drawn.images):
        row = i // arguments.num
        # A picture is made by its own prompt and seed, or by all edits up to it.
        made_by, its = slice(row, row + 1), slice(i, i + 1)
        if edits is not None:
            made_by = its = slice(i + 1)
        seed = int(drawn.seeds[i]) if edits is None else arguments.seed
        own = settings | {"prompts": prompts[made_by], "seed": seed, "num": 1}
        each.append({"file": f"{row:04d}-{seed}.png", "prompt": prompts[row]})
        save_png(out / each[-1]["file"], image, own | _ranked(drawn, its))
    _save_scores(out / "scores.json", drawn, each, arguments)
    return f"{out}/: {len(drawn.images)} pictures"


def _ranked(drawn, its):
    """The seeds and scores of ranked pictures, for metadata."""
    if drawn.scores is None:
        return {}
    return {"seeds": drawn.seeds[its].tolist(), "scores": drawn.scores[its].tolist()}


def _save_scores(path, drawn, each, arguments):
    """Writes the seeds and scores of ranked pictures, in their order, with what is said of each."""
    if drawn.scores is None:
        return
    pairs = zip(drawn.seeds.tolist(), drawn.scores.tolist(), strict=True)
    pictures = [
        known | {"seed": seed, "score": score}
        for known, (seed, score) in zip(each, pairs, strict=True)
    ]
    told = {"rerank_model": arguments.ranking_model, "rerank_from": arguments.rerank_from}
    write_text(path, json.dumps(told | {"pictures": pictures}, indent=1, ensure_ascii=False) + "\n")
