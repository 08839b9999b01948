"""The tables that people read: answers for files, and for the examinations that they make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import typer

from mammolens.cli import records, terminal

_HEADER = f"{'probability':>11}  {'label':<9}  {'side':<4}  {'view':<5}  {'x,y':>11}  file"
_EXAMINATIONS = f"{'probability':>11}  {'label':<9}  {'right':>6}  {'left':>6}  {'pictures':>8}  examination"


class Table:
    """Answers for people, on standard output as they come; the file's name stands last and may be of any length."""

    def __init__(self) -> None:
        self._examinations = 0
        typer.echo(_HEADER)

    def add(self, record: records.Record) -> None:
        """Print one row."""
        # What was made fit for JSON may still disturb a terminal.
        name = terminal.printable(record["path"])
        if record["status"] != "ok":
            error = record["error"]
            row = f"{'-':>11}  {'refused':<9}  {'':<4}  {'':<5}  {'':>11}  {name}: {error['message']} [{error['code']}]"
            typer.secho(row, fg="yellow")
            return
        regions = record["regions"]
        place = ",".join(str(v) for v in regions[0]["centre"]) if regions else "-"
        notes = ", ".join(warning.partition(":")[0] for warning in record["warnings"])
        row = (
            f"{record['probability']:>11.4f}  {record['label']:<9}  {record['laterality'] or '-':<4}  "
            f"{record['view'] or '-':<5}  {place:>11}  {name}{f'  ({notes})' if notes else ''}"
        )
        typer.secho(row, bold=record["label"] == "malignant")

    def add_examination(self, record: records.Record) -> None:
        """Print one row of the second table; its head goes before the first."""
        if not self._examinations:
            typer.echo(f"\n{_EXAMINATIONS}")
        self._examinations += 1
        breasts = {breast["laterality"]: f"{breast['probability']:.4f}" for breast in record["breasts"]}
        pictures = sum(len(breast["views"]) for breast in record["breasts"])
        named = {what: _places(record[what]) for what in ("missing", "doubled")}
        notes = "; ".join(f"{what} {places}" for what, places in named.items() if places)
        row = (
            f"{record['probability']:>11.4f}  {record['label']:<9}  {breasts.get('R', '-'):>6}  "
            f"{breasts.get('L', '-'):>6}  {pictures:>8}  {record['examination']}{f'  ({notes})' if notes else ''}"
        )
        typer.secho(row, bold=record["label"] == "malignant")


def _places(places: Sequence[Mapping[str, str]]) -> str:
    return ", ".join(f"{place['laterality']} {place['view']}" for place in places)
