"""The run report: one self-contained HTML file. `collect.gather` reads a workspace, `write_report` makes the page."""

from pipelines.report.model import ReportData
from pipelines.report.write import write_report

__all__ = ["ReportData", "write_report"]
