"""The section of the evaluation's page that says whether heat maps show where the lesion is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mammolens.report.tables import figure, section, table
from mammolens.report.views import text

_COLUMNS = (
    ("near", "peak within 1.25 radii"),
    ("inside", "peak inside"),
    ("energy", "energy inside"),
    ("overlap", "overlap, best fixed threshold"),
)


def localisation(found: Mapping[str, Any], examples: Sequence[tuple[str, str]]) -> str:
    """Say how explanations stand beside what knows nothing of the model.

    Parameters
    ----------
    found : mapping
        ``as_dict()`` of `mammolens.evaluation.localisation.Localisation`.
    examples : sequence of (str, str)
        Caption, and PNG in base64.

    Returns
    -------
    str
        A section of HTML.
    """
    refused = sum(found["refused"].values())
    said = (
        f"{found['pictures']:,} pictures, {found['with_lesion']:,} of them with an outlined lesion, of "
        f"{found['women']:,} women; {found['left_out']:,} left out for want of an outline, {refused:,} refused. A "
        f"point drawn at random in the breast lies inside in {found['chance']['inside']:.2f} and near in "
        f"{found['chance']['near']:.2f}. What knows nothing of the model stands below the methods: the centre of the "
        "breast, the brightest tissue, and the same network with its weights shuffled."
    )
    rates = sorted({row["false_regions_per_image"] for each in found["methods"].values() for row in each["froc"]})
    shown = [rate for rate in (0.5, 1.0) if rate in rates]
    rows = [
        [
            text(name),
            *(figure(each[key], 2) for key, _ in _COLUMNS),
            *(figure(_at(each["froc"], rate), 2) for rate in shown),
            f"{each['silent']:,}",
        ]
        for part in ("methods", "baselines")
        for name, each in found[part].items()
    ]
    head = ["map", *(name for _, name in _COLUMNS), *(f"lesions found at {rate:g} false a picture" for rate in shown)]
    parts = [f'<p class="reading">{said}</p>', table([*head, "silent"], rows)]
    if found["sanity"]:
        stages = list(next(iter(found["sanity"].values())))
        parts.append(
            table(
                ["map", *stages],
                [[text(name), *(figure(kept[stage], 2) for stage in stages)] for name, kept in found["sanity"].items()],
                caption="correlation with the map after shuffling more and more of the network",
            )
        )
    if examples:
        figures = "".join(
            f'<figure><img alt="" src="data:image/png;base64,{png}"><figcaption>{text(caption)}</figcaption></figure>'
            for caption, png in examples
        )
        parts.append(f'<div class="examples">{figures}</div>')
    return section("Where the model looks", *parts)


def _at(froc: Sequence[Mapping[str, Any]], rate: float) -> Mapping[str, Any] | None:
    return next((row for row in froc if row["false_regions_per_image"] == rate), None)
