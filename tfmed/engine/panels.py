"""A grid of panels at fixed places: finding a layout for them would take longer than drawing them."""


def panels(rows, columns, size, margins, gaps, colour="white"):
    """(Figure, its axes `(rows, columns)`).

    Args:
        rows, columns: number of panels.
        size: (width, height) of a panel in inches.
        margins: left, right, bottom and top of all panels, in inches.
        gaps: between two columns and between two rows, in inches.
        colour: of the background.
    """
    from matplotlib.figure import Figure

    left, right, bottom, top = margins
    wide = columns * size[0] + (columns - 1) * gaps[0] + left + right
    high = rows * size[1] + (rows - 1) * gaps[1] + bottom + top
    figure = Figure(figsize=(wide, high), facecolor=colour)
    axes = figure.subplots(rows, columns, squeeze=False)
    figure.subplots_adjust(
        left / wide, bottom / high, 1 - right / wide, 1 - top / high, gaps[0] / size[0], gaps[1] / size[1]
    )
    return figure, axes
