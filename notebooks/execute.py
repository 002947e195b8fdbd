"""Executes the notebooks and keeps what they show: python -m notebooks.execute [NAME ...]"""

from pathlib import Path

import nbformat
from nbclient import NotebookClient

from glide_jax import cli

FOLDER = Path(__file__).parent
NAMES = ("text_to_image", "train_your_own", "inpaint_and_edit", "clip_guidance_and_evaluation")


def read(name):
    """A notebook by its name."""
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def with_constants(notebook, constants):
    """The notebook with other constants, {name: value}, which its cell of settings must have."""
    notebook = nbformat.from_dict(notebook)
    (cell,) = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", ())]
    own = {}
    exec(cell.source, own)
    unknown = constants.keys() - own.keys()
    if unknown:
        raise ValueError(f"there is no setting {', '.join(sorted(unknown))} in:\n{cell.source}")
    cell.source += "".join(f"\n{name} = {value!r}" for name, value in constants.items())
    return notebook


def execute(notebook, timeout=3600):
    """The notebook with the outputs of a kernel that starts in this folder.

    Raises a `nbclient.exceptions.CellExecutionError` at the first cell that fails.
    """
    where = {"metadata": {"path": str(FOLDER)}}
    # Streams coalesce so that of a progress bar its last state is left.
    own = {"timeout": timeout, "coalesce_streams": True, "resources": where}
    return NotebookClient(notebook, kernel_name="python3", **own).execute()


def without_traces(notebook):
    """The notebook without times, progress bars and versions, which tell of one machine only.

    Of a picture that is shown as PNG and as JPEG, the JPEG goes, too.
    """
    notebook = nbformat.from_dict(notebook)
    notebook.metadata.pop("language_info", None)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr"]
            for output in cell.outputs:
                output.get("data", {}).pop("image/jpeg", None)
    return notebook


def main(names):
    """Executes the named notebooks, or all, and writes them with their outputs."""
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        raise ValueError(f"there is no notebook {unknown[0]!r}; there are {', '.join(NAMES)}")
    for name in names or NAMES:
        executed = without_traces(execute(read(name)))
        nbformat.write(executed, FOLDER / f"{name}.ipynb")
        print(f"notebooks/{name}.ipynb")


if __name__ == "__main__":
    cli.entry_point(main, "notebooks.execute")
