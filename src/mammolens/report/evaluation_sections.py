"""The sections of the evaluation's page, each made of one part of the report's data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mammolens.report import charts
from mammolens.report.svg import draw
from mammolens.report.tables import bounds, figure, number, percent, section, sentences, table
from mammolens.report.views import text

Report = Mapping[str, Any]

LEVELS = {"image": "image", "breast": "breast", "woman": "woman"}

_FIGURES = (
    ("auc", "ROC AUC"),
    ("auc_delong_clustered", "ROC AUC, DeLong’s interval by woman"),
    ("auc_delong", "ROC AUC, DeLong’s interval as if independent"),
    ("partial_auc", "partial AUC at specificity ≥ 0.9, standardised"),
    ("pr_auc", "PR AUC"),
    ("sensitivity_at_0.889", "sensitivity at specificity 0.889"),
    ("sensitivity_at_0.96", "sensitivity at specificity 0.96"),
    ("specificity_at_0.869", "specificity at sensitivity 0.869"),
    ("specificity_at_0.8", "specificity at sensitivity 0.80"),
)
_CALIBRATION = (
    ("brier", "Brier score"),
    ("log_loss", "log loss"),
    ("calibration_slope", "calibration slope"),
    ("calibration_intercept", "calibration in the large"),
    ("ece", "calibration error (ten equal bins)"),
)
_STANDING = {
    "acceptable": "acceptable, whole interval",
    "possibly": "possibly: the interval reaches it",
    "no": "not acceptable",
    "unknown": "no interval",
}


def summary(report: Report) -> str:
    """Give every figure at every level."""
    levels = report["levels"]
    rows = [["pictures, breasts, women"] + [f"{levels[level]['count']:,}" for level in LEVELS]]
    rows.append(["of them malignant"] + [f"{levels[level]['malignant']:,}" for level in LEVELS])
    rows += [[text(name)] + [figure(levels[level][key]) for level in LEVELS] for key, name in _FIGURES]
    rows += [
        [text(name)] + [figure(levels[level]["calibration"].get(key)) for level in LEVELS] for key, name in _CALIBRATION
    ]
    return section(
        "Figures",
        table(["with 95 % intervals", *LEVELS.values()], rows),
        '<p class="quiet small reading">The level decides: the same model differs between picture, breast and woman. '
        "PR AUC and the Brier score depend on the share of cancers in these data.</p>",
    )


def protocol(report: Report) -> str:
    """Say how the figures came about, and what the data can't tell."""
    data = report["data"]
    about = (
        f"{text(data['dataset'])}: {data['images']:,} pictures of {data['women']:,} women, {data['malignant']:,} "
        f"pictures of {data['women_with_cancer']:,} women malignant. {text(data['terms'])}"
    )
    return (
        section("Protocol", f'<p class="reading">{about}</p>', sentences(report["protocol"]["words"]))
        + "\n"
        + section("What these data can’t tell", sentences(report["limits"]))
    )


def points(report: Report) -> str:
    """Say what each operating point calls, at each level."""
    parts = []
    for level in LEVELS:
        rows = [
            [
                text(point["name"]),
                number(point["threshold"]),
                figure(point["sensitivity"]),
                figure(point["specificity"]),
                figure(point["balanced_accuracy"]),
                *(f"{point[count]:,}" for count in ("true_positive", "false_negative", "false_positive")),
                f"{point['true_negative']:,}",
            ]
            for point in report["levels"][level]["points"]
        ]
        head = ["point", "threshold", "sensitivity", "specificity", "balanced accuracy"]
        counts = ["found", "missed", "false alarms", "rightly quiet"]
        parts.append(table([*head, *counts], rows, caption=f"per {level}"))
    return section("Operating points", *parts)


def roc_chart(report: Report, level: str, title: str) -> str:
    """ROC curve of a level with its band, the operating points, and readers in screening."""
    at, readers = report["levels"][level], report["bcsc"]["woman"]
    curve = [
        (row["false_positive_rate"], *(_bound(row["sensitivity"], end) for end in ("value", "low", "high")))
        for row in at["roc"]
    ]
    marks = [
        ("point", 1.0 - point["specificity"]["value"], point["sensitivity"]["value"], point["name"])
        for point in at["points"]
    ]
    benchmark = readers["benchmark"]
    marks += [("algorithm", 1.0 - a["specificity"], a["sensitivity"], a["name"]) for a in readers["algorithms"]]
    marks.append(("readers", 1.0 - benchmark["specificity"], benchmark["sensitivity"], "readers in screening"))
    drawn = charts.roc(curve, marks, [tuple(row) for row in readers["acceptable"]])
    return draw(drawn, title, "1 − specificity", "sensitivity")


def _bound(estimate: Mapping[str, float | None], end: str) -> float:
    """Bound of an estimate; the value where there is no interval."""
    found = estimate[end]
    return float(found if found is not None else estimate["value"] or 0.0)


_ROC_LEGEND = (
    ("curve", "the model, with its 95 % band"),
    ("point", "its operating points"),
    ("region", "acceptable for a reader"),
    ("readers", "readers in screening (BCSC)"),
    ("algorithm", "algorithms of the RSNA 2023 challenge, median and best"),
)


def legend(entries: Sequence[tuple[str, str]]) -> str:
    """Keys of a picture."""
    return (
        '<ul class="legend">'
        + "".join(f'<li><i class="key {kind}"></i>{text(words)}</li>' for kind, words in entries)
        + "</ul>"
    )


def curves(report: Report) -> str:
    """ROC curves of pictures and breasts; that of women stands beside the readers."""
    drawn = "".join(
        f"<figure>{roc_chart(report, level, f'ROC curve per {level}')}<figcaption>per {level}</figcaption></figure>"
        for level in ("image", "breast")
    )
    return section("ROC curves", f'<div class="pair">{drawn}</div>', legend(_ROC_LEGEND))


def readers(report: Report) -> str:
    """Hold the model beside readers in screening, with projections."""
    found = report["bcsc"]["woman"]
    benchmark = found["benchmark"]
    rows = [
        [
            text(point["name"]),
            figure(point["sensitivity"]),
            figure(point["specificity"]),
            text(_STANDING[point["standing"]]),
        ]
        for point in found["points"]
    ]
    rows.append(
        [
            "readers in screening (BCSC)",
            number(benchmark["sensitivity"]),
            number(benchmark["specificity"]),
            "the benchmark",
        ]
    )
    rows += [[text(a["name"]), number(a["sensitivity"]), number(a["specificity"]), ""] for a in found["algorithms"]]
    at = report["levels"]["woman"]
    said = (
        f"At the readers’ specificity of {benchmark['specificity']:.3f} the model’s sensitivity per woman is "
        f"{figure(at['sensitivity_at_0.889'])}; at their sensitivity of {benchmark['sensitivity']:.3f} its specificity "
        f"is {figure(at['specificity_at_0.869'])}. Acceptable for a reader is a sensitivity of at least 80 % with a "
        "specificity of at least 85 %, or 75 to 79 % with 88 to 97 %. Readers saw whole examinations with history and "
        f"prior pictures, {benchmark['examinations']:,} of them in screening; the model saw the pictures of this data "
        "set alone. Two different questions: the comparison orients, it proves nothing."
    )
    picture = roc_chart(report, "woman", "ROC curve per woman beside readers in screening")
    return section(
        "Beside readers in screening",
        f'<div class="pair"><figure>{picture}<figcaption>per woman</figcaption></figure>'
        f'<div><p class="reading">{said}</p>{legend(_ROC_LEGEND)}</div></div>',
        table(["per woman", "sensitivity", "specificity", "standing"], rows),
        _projection(found),
    )


def _projection(found: Mapping[str, Any]) -> str:
    benchmark, prevalence = found["benchmark"], found["prevalence"]
    rows = []
    for point in found["points"]:
        projected = point["projection"]
        rows.append(
            [
                text(point["name"]),
                percent(projected["recall_rate"]),
                figure(projected["detected"], 1),
                figure(projected["missed"], 1),
                percent(projected["ppv"]),
                percent(projected["npv"], 2),
            ]
        )
    rows.append(
        [
            "readers in screening, measured",
            number(100 * benchmark["recall_rate"], 1),
            number(benchmark["detected"], 1),
            number(benchmark["missed"], 1),
            number(100 * benchmark["ppv1"], 1),
            "",
        ]
    )
    head = ["projected", "recalled, %", "found of 1,000", "missed of 1,000", "PPV of recalls, %", "NPV, %"]
    return (
        f"<h3>Projection to {1000 * prevalence:.1f} cancers among 1,000 women</h3>"
        '<p class="reading">None of these was measured here. They follow by arithmetic from sensitivity and '
        "specificity per woman, if both were the same in screening, which they rarely are. Intervals are the extremes "
        f"over both intervals. Readers’ PPV of recommended biopsies, {100 * benchmark['ppv2']:.1f} %, and of done "
        f"ones, {100 * benchmark['ppv3']:.1f} %, have no counterpart in a model’s score.</p>" + table(head, rows)
    )


def calibration(report: Report) -> str:
    """Promise and observation."""
    parts = []
    for level in ("image", "woman"):
        bins = report["levels"][level]["reliability"]
        drawn = charts.promises(
            [
                (
                    row["predicted"],
                    row["observed"]["value"],
                    _bound(row["observed"], "low"),
                    _bound(row["observed"], "high"),
                    f"promised {row['predicted']:.2f}, seen {row['observed']['value']:.2f}, {row['count']}",
                )
                for row in bins
            ]
        )
        picture = draw(drawn, f"Reliability per {level}", "promised probability", "observed share of cancers")
        parts.append(f"<figure>{picture}<figcaption>per {level}</figcaption></figure>")
    rows = [
        [f"{row['count']:,}", number(row["predicted"]), figure(row["observed"])]
        for row in report["levels"]["image"]["reliability"]
    ]
    own = report["calibration"]
    said = "The bundle is not calibrated."
    if own is not None:
        on = own["on"]
        where = (
            "out of fold on its training data"
            if on is None
            else (f"on {on['images']} pictures of {on['women']} women ({on['dataset']}) by {on['by']}")
        )
        said = f"The bundle’s calibration: {own['method']}, fitted {where}, at {100 * own['prevalence']:.1f} % cancers."
    return section(
        "Calibration",
        f'<p class="reading">{text(said)}</p>',
        f'<div class="pair">{"".join(parts)}</div>',
        '<div class="narrow">',
        table(["pictures", "promised", "observed"], rows, 0, caption="per image, bins of like many pictures"),
        "</div>",
    )


def decision(report: Report) -> str:
    """Net benefit over thresholds."""
    parts = []
    for level in ("image", "woman"):
        rows = [
            (
                row["threshold"],
                *(_bound(row["model"], end) for end in ("value", "low", "high")),
                row["everybody"],
            )
            for row in report["levels"][level]["decision"]
        ]
        picture = draw(charts.benefit(rows), f"Decision curve per {level}", "threshold probability", "net benefit")
        parts.append(f"<figure>{picture}<figcaption>per {level}</figcaption></figure>")
    return section(
        "Decision curve",
        '<p class="reading">Net benefit: cancers found, less false alarms weighed by the odds of the threshold, as a '
        "share of all. A model helps where its curve lies above both others. It holds at the share of cancers in these "
        "data.</p>",
        f'<div class="pair">{"".join(parts)}</div>',
        legend((("curve", "the model"), ("outline", "recalling everybody"), ("chance", "recalling nobody"))),
    )


def parts(report: Report) -> str:
    """Subgroups with their forest plot."""
    found = report["subgroups"]
    shown = [row for row in found["groups"] if row["auc"] is not None and row["auc"]["low"] is not None]
    if not found["groups"]:
        return section("Parts", '<p class="reading">The data set says nothing that divides its pictures.</p>')
    whole = report["levels"]["image"]["auc"]["value"]
    drawn = charts.forest(
        [
            (
                f"{row['group']} {row['value']}",
                row["auc"]["value"],
                row["auc"]["low"],
                row["auc"]["high"],
                row["together"]["low"],
                row["together"]["high"],
                f"{row['auc']['value']:.3f}",
            )
            for row in shown
        ],
        whole,
    )
    rows = [
        [
            text(f"{row['group']} {row['value']}"),
            f"{row['images']:,}",
            f"{row['malignant']:,}",
            f"{row['women']:,}",
            figure(row["auc"]) if row["auc"] is not None else "too few women, or one class",
            bounds(row["together"]),
        ]
        for row in found["groups"]
    ]
    picture = draw(drawn, "AUC of each part with its interval", "ROC AUC per image", "")
    return section(
        "Parts",
        f'<p class="reading">{text(found["note"])}</p>',
        f'<figure class="forest">{picture}</figure>' if shown else "",
        table(["part", "pictures", "malignant", "women", "ROC AUC per image", "all together"], rows),
    )


def comparison(report: Report) -> str:
    """Two models on the same pictures."""
    found = report["comparison"]
    rows = [
        [
            f"per {level}",
            figure(row["auc"]),
            figure(row["auc_other"]),
            figure(row["difference"]),
            bounds(row["difference_delong"]),
            "&lt; 0.001" if row["p"] < 0.001 else number(row["p"]),
        ]
        for level, row in found["levels"].items()
    ]
    return section(
        "Compared",
        f'<p class="reading">With {text(found["other"])}, on {found["images"]:,} pictures that both have scored, in '
        "pairs. The difference is this model’s ROC AUC less the other’s; its interval is by bootstrap over women, the "
        "second and p by DeLong’s test clustered by woman.</p>",
        table(["", "this model", "the other", "difference", "by DeLong", "p"], rows),
    )


def reproduce(report: Report) -> str:
    """Say what gives the same figures again."""
    found = report["reproduce"]
    hashes = "".join(
        f"<dt>{text(name)}</dt><dd><code>{text(value)}</code></dd>" for name, value in sorted(found["hashes"].items())
    )
    command = f"<p><code>{text(found['command'])}</code></p>" if found["command"] else ""
    return section(
        "Again",
        command,
        f"<dl><dt>Mammolens</dt><dd>{text(found['mammolens'])}</dd>{hashes}<dt>bootstrap</dt>"
        f"<dd>{report['protocol']['draws']:,} samples, seed {report['protocol']['seed']}</dd></dl>",
    )
