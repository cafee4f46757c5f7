"""Tables, plots, and one page in which a colleague can read what a comparison found."""

from auglean.reports.page import write
from auglean.reports.spectrum import write_spectrum
from auglean.reports.tables import comparison_table, markdown_table, speedup_table

__all__ = ["comparison_table", "markdown_table", "speedup_table", "write", "write_spectrum"]
