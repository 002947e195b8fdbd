r"""Zero-shot FID on COCO, after the protocol of the paper's table 2: 30,000 captions at 256 pixels.

    python evaluate.py --config configs/eval_coco.py --data COCO

COCO has annotations/captions_val2014.json and val2014/, from the original files, or is
tfds:coco_captions@val, a copy that TFDS has prepared as array_record. The captions are drawn by a
fixed seed: which ones the paper drew is not known. The curves of its figure 6 are of 64 pixels:

    python evaluate.py sweep --config configs/eval_coco.py --data COCO --upsampler None \
        --num 10000 --guidance cfg,clip --scales 1,1.5,2,3,4 --clip-models glide-clip --judge CLIP

FID's Inception is pt_inception-2015-12-05-6726825d.pth in the folder of the command, see
docs/evaluation.md. Which guidance scale is best is for the sweep to say. Made for one GPU; here it
has been run on a small made folder in COCO's layout only, so neither hours nor FID can be told.
"""

from glide_jax.evaluation.options import Drawing


def get_config():
    """The options of evaluate.py."""
    return Drawing(
        model="glide-base",
        upsampler="glide-upsample",
        data="coco",
        num=30_000,
        features="pt_inception-2015-12-05-6726825d.pth",
        batch_size=64,
        dtype="bfloat16",
    )
