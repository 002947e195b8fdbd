"""Pictures made from pictures: inpainting, SDEdit, DDIM inversion, one edit after another."""

import numpy as np

from glide_jax.drawing import Order, draw
from glide_jax.sampling import Given
from glide_jax.settings import Settings


def inpaint(
    pipeline,
    images,
    masks,
    prompts,
    *,
    num=1,
    method=None,
    guidance_scale=5.0,
    guidance_interval=None,
    dynamic_threshold=None,
    negative_prompt="",
    clip=None,
    clip_guidance_scale=3.0,
    sampler="ancestral",
    steps=100,
    eta=0.0,
    jump_length=5,
    resamplings=5,
    seed=0,
    batch_size=16,
    progress=False,
):
    """Pictures of which a part is kept and the rest is drawn anew to fit a caption (GLIDE §3).

    Args:
        images: uint8 [N, H, W, 3], of the model's side.
        masks: bool [N, H, W], True = keep.
        prompts: N strings, what each whole picture shows.
        num: pictures for each image.
        method: "model", for one that was trained to inpaint (the default where it was); for any
            model "replace", which puts the noised known pixels back after each step (the default
            otherwise), or "repaint", which also goes back and repeats steps.
        jump_length, resamplings: of "repaint", how many steps it goes back, and how often.
        clip: as there; it is shown the whole picture, and leads the part that is drawn anew.

    The others, and the errors, are as in `Pipeline.text_to_image`; defaults are the published.

    Returns:
        uint8 [N * num, H, W, 3]. The kept pixels are near to what they were; `fitting.paste` puts
        them back.
    """
    model, sees = pipeline.model, pipeline.model.unet.inpaint
    check_base(model)
    method = _checked_method(method, sees)
    order = Order(num, seed, batch_size, progress, "inpainting")
    order.check(prompts)
    images = _checked(images, prompts, model)
    masks = _checked_masks(masks, images)
    known = _repeated(num, as_input(images), as_mask(masks))
    settings = Settings(
        *(guidance_scale, guidance_interval, dynamic_threshold, sampler, steps, eta),
        clip_guidance_scale=clip_guidance_scale,
        inpaint_method=method,
        jump_length=jump_length,
        resamplings=resamplings,
    )
    given = Given(inpaint_inputs(*known) if sees else {}, known)
    own = pipeline.network, pipeline.tokenizer, prompts, settings, order
    return draw(*own, negative_prompt=negative_prompt, given=given, clip=clip)


def image_to_image(
    pipeline,
    images,
    prompts,
    *,
    strength=0.6,
    edit_from=None,
    num=1,
    guidance_scale=3.0,
    guidance_interval=None,
    dynamic_threshold=None,
    negative_prompt="",
    clip=None,
    clip_guidance_scale=3.0,
    sampler=None,
    steps=100,
    eta=0.0,
    seed=0,
    batch_size=16,
    progress=False,
):
    """Pictures like given ones that fit a caption: SDEdit, or with `edit_from` DDIM inversion.

    Args:
        images: uint8 [N, H, W, 3], of the model's side.
        prompts: N strings, what each is to become.
        strength: how much of the noise is added and taken away again, above 0 (nearly the picture
            itself) to 1 (nearly nothing of it).
        edit_from: N strings, what each picture shows now. It is then not noised but inverted under
            them, without guidance, which keeps more of it.
        clip: as there; it has no part in an inversion's way up.
        sampler: "ancestral" by default; an inversion takes "ddim" alone, with eta 0.

    The others, and what is raised, are as in `Pipeline.text_to_image`.

    Returns:
        uint8 [N * num, H, W, 3].

    Source: SDEdit, arXiv 2108.01073; DDIM inversion, arXiv 2010.02502, section 4.3.
    """
    model = pipeline.model
    check_base(model)
    order = Order(num, seed, batch_size, progress, "editing")
    order.check(prompts)
    images = _checked(images, prompts, model)
    sampler = sampler or ("ancestral" if edit_from is None else "ddim")
    captions = None
    if edit_from is not None:
        _check_inversion(edit_from, prompts, sampler, eta)
        captions = _repeated(num, *pipeline.tokenizer.encode(list(edit_from)))
    (start,) = _repeated(num, as_input(images))
    settings = Settings(
        *(guidance_scale, guidance_interval, dynamic_threshold, sampler, steps, eta),
        clip_guidance_scale=clip_guidance_scale,
        strength=strength,
    )
    inputs = nothing_kept(model, len(start))
    own = pipeline.network, pipeline.tokenizer, prompts, settings, order
    given = Given(inputs, start=start, start_captions=captions)
    return draw(*own, negative_prompt=negative_prompt, given=given, clip=clip)


def edit(
    pipeline,
    image,
    edits,
    *,
    method=None,
    guidance_scale=5.0,
    negative_prompt="",
    clip=None,
    clip_guidance_scale=3.0,
    sampler="ancestral",
    steps=100,
    seed=0,
    progress=False,
):
    """One picture, edited again and again, as in GLIDE's figure 1.

    Args:
        pipeline: a `Pipeline`.
        image: uint8 [H, W, 3], of the model's side.
        edits: (mask bool [H, W], prompt) of each step; a step sees what the one before made, with
            the kept pixels as they were.
        seed: of the first step; the next one has seed + 1.

    The others are as in `inpaint`.

    Returns:
        uint8 [len(edits), H, W, 3], the picture after each step.
    """
    pictures = []
    for number, (mask, prompt) in enumerate(edits):
        masks = np.asarray(mask, bool)[None]
        (made,) = inpaint(
            pipeline,
            *(image[None], masks, [prompt]),
            method=method,
            guidance_scale=guidance_scale,
            negative_prompt=negative_prompt,
            clip=clip,
            clip_guidance_scale=clip_guidance_scale,
            sampler=sampler,
            steps=steps,
            seed=seed + number,
            progress=progress,
        )
        image = np.where(masks[0, ..., None], image, made)
        pictures.append(image)
    return np.stack(pictures)


def as_input(images):
    """uint8 pictures in [-1, 1]."""
    return np.float32(images) / 127.5 - 1


def as_mask(masks):
    """bool [N, H, W] as float32 [N, H, W, 1]."""
    return np.float32(masks)[..., None]


def inpaint_inputs(image, mask):
    """What a model that was trained to inpaint is given of a picture and its mask."""
    return {"inpaint_image": image, "inpaint_mask": mask}


def nothing_kept(model, number):
    """The inputs of an inpainting model that is to draw whole pictures; of another one none."""
    if not model.unet.inpaint:
        return {}
    side = model.unet.image_size
    image = np.zeros((number, side, side, 3), np.float32)
    return inpaint_inputs(image, image[..., :1])


def known_pixels(known, number, model):
    """Pictures and masks that an upsampler keeps, as arrays of a run; refused where they misfit."""
    if not model.unet.inpaint:
        raise ValueError("there are known pixels, but the upsampler was not trained to inpaint")
    images, masks = known
    images = _checked(images, range(number), model)
    return as_input(images), as_mask(_checked_masks(masks, images))


def check_base(model):
    """Raises a ValueError for a model that draws nothing, but enlarges."""
    if model.unet.low_res_size:
        raise ValueError("the model is an upsampler: it enlarges pictures (Pipeline.upsample)")


def _checked_method(method, sees):
    """How known pixels are kept, by a model that sees them or one that does not."""
    method = method or ("model" if sees else "replace")
    if method == "model" and not sees:
        raise ValueError(
            "method is 'model', but the model was not trained to inpaint: use 'replace' or "
            "'repaint', or a model that was"
        )
    return method


def _check_inversion(edit_from, prompts, sampler, eta):
    if sampler != "ddim" or eta:
        raise ValueError(
            f"sampler is {sampler!r} with eta {eta}; an inversion takes ddim with eta 0"
        )
    if isinstance(edit_from, str) or len(edit_from) != len(prompts):
        raise ValueError(f"edit_from is {edit_from!r}; give a list, one for each prompt")


def _checked(images, prompts, model):
    """Pictures of the model's side, one for each prompt."""
    images, side = np.asarray(images), model.unet.image_size
    if images.dtype != np.uint8 or images.shape[1:] != (side, side, 3):
        raise ValueError(
            f"images are {images.dtype} {list(images.shape)}; "
            f"they must be uint8 [N, {side}, {side}, 3]"
        )
    if len(images) != len(prompts):
        raise ValueError(f"there are {len(images)} images for {len(prompts)} prompts")
    return images


def _checked_masks(masks, images):
    masks = np.asarray(masks)
    if masks.dtype != bool or masks.shape != images.shape[:3]:
        raise ValueError(
            f"masks are {masks.dtype} {list(masks.shape)}; "
            f"they must be bool {list(images.shape[:3])}, True = keep"
        )
    if masks.all(axis=(1, 2)).any():
        raise ValueError("a mask keeps the whole picture, which leaves nothing to draw")
    return masks


def _repeated(num, *arrays):
    return tuple(np.repeat(array, num, axis=0) for array in arrays)
