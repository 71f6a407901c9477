"""A run folder -> pages for people: the report of one run, the comparison of two pictures."""

from gslrm.training.report.compare import write_comparison
from gslrm.training.report.page import REPORT_FILE, write_report

__all__ = ["REPORT_FILE", "write_comparison", "write_report"]
