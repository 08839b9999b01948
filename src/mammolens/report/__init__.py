"""The report that people read: one HTML page beside its pictures.

The room takes answers and picture files and gives a page. It computes no score and
opens no image but to read its size.
"""

from mammolens.report.entry import ReportEntry, ReportModel
from mammolens.report.page import write_report

__all__ = ["ReportEntry", "ReportModel", "write_report"]
