"""What the command lines share: parsing by tyro, and errors as one line with exit code 2."""

import contextlib
import dataclasses
import difflib
import io
import logging
import os
import re
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import absl.logging
import tyro

BOX = " ╭╮│╰╯+|\n"


@dataclass(frozen=True)
class Sampling:
    """How a model is sampled: what `Pipeline` takes, and what the command lines offer."""

    model: str = "shapes32"
    """A shipped or published model's name, a model folder or a training run."""
    guidance_scale: float = 3.0
    """1 is the model's own distribution; more follows the caption closer, 0 ignores it."""
    guidance_interval: tuple[int, int] | None = None
    """The lowest and the highest timestep, of 0 to 999, at which guidance leads; all by default.
    At others a step takes half of the time."""
    dynamic_threshold: float | None = None
    """Scales predictions by what this fraction of a picture's values lie within (say 0.995)."""
    negative_prompt: str = ""
    """What guidance leads away from."""
    sampler: Literal["ancestral", "ddim", "dpmpp"] = "ancestral"
    """dpmpp is DPM-Solver++ 2M, with steps even in log-SNR."""
    steps: str | None = None
    """A number, or for ancestral and ddim a published form: ddim50, fast27 or 10,10,3,2,2. By
    default 100; with a model of up to 32 pixels, and no picture given, 27."""
    eta: float = 0.0
    """Noise of ddim, from 0 (none) to 1."""
    batch_size: int = 16
    """Pictures at a time, rounded up to a multiple of the devices."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Of matrix products; auto is float32 on a CPU and bfloat16 elsewhere."""

    def settings(self, default_steps=100):
        """The arguments of `Pipeline.text_to_image` by name."""
        given = [field.name for field in dataclasses.fields(Sampling)]
        own = {name: getattr(self, name) for name in given if name not in ("model", "dtype")}
        return own | ({"steps": str(default_steps)} if self.steps is None else {})


def parse(kind, args, prog, description, default=None):
    """Command-line arguments as the dataclass `kind`; bad ones are a ValueError, one sentence."""
    for argument in args:
        if re.match(r"-(?!inf\b|nan\b)[a-z][\w-]", argument, re.IGNORECASE):
            raise ValueError(f"Unrecognized options: {argument}; perhaps you meant -{argument}")
    complaint = io.StringIO()
    defaults = {} if default is None else {"default": default}
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(kind, args=args, prog=prog, description=description, **defaults)
    except SystemExit as stop:
        if stop.code:
            # What a dataclass itself refuses needs no such name before it.
            own = f"Error parsing {kind.__name__}: "
            raise ValueError(_in_one_line(complaint.getvalue()).removeprefix(own)) from None
        raise


def _in_one_line(box):
    """What tyro's box says up to its help texts, with the nearest of the names that it gives."""
    parts = [[]]
    for line in box.splitlines()[1:]:
        line = line.strip(BOX)
        if line.startswith(("For full helptext", "Argument helptext", "(default", "(required")):
            break
        if line.startswith(("Perhaps you meant:", "Arguments similar to")):
            parts[-1].append(f"perhaps you meant {_nearest_name(box)}")
            break
        if line and not line.strip("-─"):  # a rule across the box
            parts.append([])
        elif line:
            parts[-1].append(line)
    told = "; ".join(" ".join(part) for part in parts if part)
    # Of a value that is none of several types the types are told, not why it is none of each.
    pattern = r"no type matching (.+) could be instantiated from \[(.*?)\]\. Got errors.*"
    return re.sub(pattern, _of_several_types, told)


def _of_several_types(found):
    types = " or ".join(kind.strip("{}") for kind in found[1].split("|"))
    return f"it takes {types}, not {found[2]}"


def _nearest_name(box):
    """Of the options in tyro's box, which are by the alphabet, the nearest to the unknown one."""
    unknown = re.search(r"--\w[^\s,]*", box).group()
    # An option is indented less than its help text.
    known = [line[2:].strip(BOX) for line in box.splitlines() if line[2:].startswith("    --")]
    return max(known, key=lambda o: difflib.SequenceMatcher(a=unknown, b=o.split()[0]).ratio())


def check_port(port):
    """Raises a ValueError where --port is none."""
    if not 1 <= port <= 65535:
        raise ValueError(f"--port is {port}; it must be from 1 to 65535")


def check_local(option, path):
    """Raises a ValueError for a path such as gs://, of which pathlib has made gs:/ ."""
    if re.match(r"\w{2,}:/", str(path)):
        raise ValueError(f"{option} is {str(path)!r}; it must be on this machine")


def check_folder(option, folder):
    """Raises a ValueError, before the work, where a folder could not be made or written to."""
    check_local(option, folder)
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise ValueError(
            f"{option} is {str(folder)!r}, but {str(existing)!r} is no folder to write to"
        )


def check_file(option, path):
    """Raises a ValueError, before the work, where a file could not be written."""
    check_folder(option, path.parent)
    if path.is_dir():
        raise ValueError(f"{option} is {str(path)!r}, which is a folder; name a file")


def _silence_threads():
    """What goes wrong in the threads that save is told once, by the error that is raised of it."""
    # Orbax logs it from each of its threads, with tracebacks.
    absl.logging.set_verbosity(absl.logging.FATAL)
    before = sys.unraisablehook

    def hook(unraisable):
        # Tensorstore reports its other writes to an event loop that the first failure has closed.
        if str(unraisable.exc_value) != "Event loop is closed":
            before(unraisable)

    sys.unraisablehook = hook
    # And asyncio logs each of them that nobody asked for once the first had failed.
    logging.getLogger("asyncio").addFilter(_is_asked_for)


def _is_asked_for(record):
    return "exception was never retrieved" not in record.getMessage()


def entry_point(main, prog):
    """Runs `main(arguments)`: what the user got wrong is one line on stderr and exit code 2."""
    # What JAX compiles is kept, so that the second call of a command starts in seconds.
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "glide_jax" / "xla"
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache))
    warnings.showwarning = lambda message, *where, **more: print(
        f"{prog}: {message}", file=sys.stderr
    )
    _silence_threads()
    try:
        main(sys.argv[1:])
    except (ValueError, OSError, ImportError) as error:  # the last of what reads gs:// and s3://
        print(f"{prog}: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(f"{prog}: interrupted", file=sys.stderr)
        sys.exit(130)
