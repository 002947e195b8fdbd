"""The page: python -m glide_jax.web [--help]"""

import importlib.util
import os
import sys
from dataclasses import dataclass
from typing import Literal

from glide_jax import cli

PROG = "glide_jax.web"


@dataclass(frozen=True)
class Arguments:
    """Where the page is served, with which models, and how much it takes on."""

    host: str = "127.0.0.1"
    """The address that it listens on; 0.0.0.0 lets everybody in who can reach this machine."""
    port: int = 7860
    models: tuple[str, ...] = ()
    """Model folders, training runs, folders of such, or names, beside the models that ship."""
    max_images: int = 8
    """Pictures a request."""
    max_steps: int = 250
    """Steps a request."""
    queue: int = 64
    """Requests that may wait; others are told to come again."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Of matrix products; auto is float32 on a CPU and bfloat16 elsewhere."""

    def __post_init__(self):
        cli.check_port(self.port)
        least = {"max_images": 1, "max_steps": 1, "queue": 1}
        for name, low in least.items():
            if getattr(self, name) < low:
                option = f"--{name.replace('_', '-')}"
                raise ValueError(f"{option} is {getattr(self, name)}; it must be {low} or more")


def main(arguments):
    """Parses, builds, serves."""
    parsed = cli.parse(Arguments, arguments, PROG, __doc__)
    if importlib.util.find_spec("gradio") is None:
        raise ValueError("the page needs Gradio: pip install -r requirements-web.txt")
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

    # After parsing: --help need not wait for JAX and Gradio.
    from glide_jax.web import page
    from glide_jax.web.asked import Limits
    from glide_jax.web.studio import Studio

    limits = Limits(images=parsed.max_images, steps=parsed.max_steps)
    studio = Studio(parsed.models, limits, parsed.dtype)
    blocks = page.build(studio).queue(max_size=parsed.queue)
    print(f"{PROG}: http://{parsed.host}:{parsed.port}", file=sys.stderr)
    blocks.launch(server_name=parsed.host, server_port=parsed.port, **page.LAUNCH)


if __name__ == "__main__":
    cli.entry_point(main, PROG)
