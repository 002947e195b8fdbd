"""What the command lines share: parsing by tyro, and errors as one line with exit code 2."""

import contextlib
import io
import os
import sys
import warnings
from pathlib import Path

import absl.logging
import tyro

BOX = " ╭╮│╰╯+|\n"


def parse(kind, args, prog, description, default=None):
    """Command-line arguments as the dataclass `kind`; bad ones are a ValueError, one sentence."""
    complaint = io.StringIO()
    defaults = {} if default is None else {"default": default}
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(kind, args=args, prog=prog, description=description, **defaults)
    except SystemExit as stop:
        if stop.code:
            raise ValueError(_in_one_line(complaint.getvalue())) from None
        raise


def _in_one_line(box):
    """What tyro's box says up to its help texts, with the nearest name if it gives one."""
    parts = [[]]
    for line in box.splitlines()[1:]:
        line = line.strip(BOX)
        if line.startswith(("For full helptext", "Argument helptext", "(default", "(required")):
            break
        if line and not line.strip("-─"):  # a rule across the box
            parts.append([])
        elif line == "Perhaps you meant:":
            parts[-1].append("perhaps you meant")
        elif line:
            parts[-1].append(line)
            if parts[-1][0] == "perhaps you meant":
                break
    return "; ".join(" ".join(part) for part in parts if part)


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
    except (ValueError, OSError) as error:
        print(f"{prog}: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(f"{prog}: interrupted", file=sys.stderr)
        sys.exit(130)
