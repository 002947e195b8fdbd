"""What a model's rows look like: the report, and the curves of a sweep."""

from glide_jax.evaluation import metric_curves, report


def show(folder, command, rows):
    """Writes report.html, and where rows make curves metric-curves.png.

    Args:
        folder: of results.json.
        command: the command line, a list.
        rows: those that are new.
    """
    curves, pictures = folder / "metric-curves.png", {}
    if metric_curves.can_draw(rows):
        metric_curves.save(rows, curves)
        pictures["Curves"] = curves.read_bytes()
    for name, row in zip(report.names_of(rows), rows, strict=True):
        grid = folder / row["grid"]
        if grid.exists():
            pictures[name] = grid.read_bytes()
    report.write(folder / "report.html", " ".join(command), rows, pictures)
