"""One self-contained page a scan, for a person to look at: no script, no network, no patient's name.

>>> from siamed.pipeline.report import render_index, render_report

Pictures are PNG in data URIs, outlines and names are SVG in the page, so that they stay sharp, can be read
aloud, and follow the reader's light or dark theme.
"""

from siamed.pipeline.report.index import CaseRow, render_index
from siamed.pipeline.report.page import REFER_BELOW, render_report

__all__ = ["REFER_BELOW", "CaseRow", "render_index", "render_report"]
