"""Tables, plots, and one page in which a colleague can read what a comparison found."""

from auglean.reports.page import write
from auglean.reports.tables import comparison_table, markdown_table

__all__ = ["comparison_table", "markdown_table", "write"]
