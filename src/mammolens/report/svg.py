"""Charts as inline SVG: drawn once, read on a screen and in print; what they show stands in a table beside them."""

from __future__ import annotations

from mammolens.report.charts import Chart
from mammolens.report.views import text


def draw(chart: Chart, title: str, x: str, y: str) -> str:
    """Draw a chart.

    Parameters
    ----------
    chart : Chart
    title, x, y : str
        Its name and those of its axes; any text.

    Returns
    -------
    str
        An ``svg`` element. Equal charts give equal text.
    """
    parts = [
        f'<svg class="chart" viewBox="0 0 {chart.width:g} {chart.height:g}" role="img" aria-label="{text(title)}">',
    ]
    for tick in chart.y_ticks:
        parts.append(
            f'<line class="grid-line" x1="{chart.left:g}" x2="{chart.right:g}" y1="{tick.at:g}" y2="{tick.at:g}"/>'
            f'<text text-anchor="end" x="{chart.left - 6:g}" y="{tick.at + 4:g}">{text(tick.text)}</text>'
        )
    for tick in chart.x_ticks:
        parts.append(f'<text text-anchor="middle" x="{tick.at:g}" y="{chart.bottom + 16:g}">{text(tick.text)}</text>')
    for line in chart.lines:
        element = "polygon" if line.closed else "polyline"
        parts.append(f'<{element} class="{"area" if line.closed else "line"} {line.kind}" points="{line.points}"/>')
    for dot in chart.dots:
        title_ = f"<title>{text(dot.text)}</title>"
        if dot.kind in ("readers", "algorithm"):
            parts.append(f'<path class="dot {dot.kind}" d="M{dot.x:g} {dot.y - 6:g}l6 6-6 6-6-6z">{title_}</path>')
        else:
            parts.append(f'<circle class="dot {dot.kind}" cx="{dot.x:g}" cy="{dot.y:g}" r="4">{title_}</circle>')
    middle, centre = (chart.left + chart.right) / 2, (chart.top + chart.bottom) / 2
    parts.append(f'<text text-anchor="middle" x="{middle:g}" y="{chart.height - 6:g}">{text(x)}</text>')
    if y:
        parts.append(f'<text text-anchor="middle" transform="translate(12 {centre:g}) rotate(-90)">{text(y)}</text>')
    return "".join([*parts, "</svg>"])
