"""Tables, plots, and one page in which a colleague can read what a comparison found."""

from auglean.reports.condensation import condensation_table, write_condensation
from auglean.reports.curve import write_curve
from auglean.reports.curve_tables import curve_table
from auglean.reports.page import write
from auglean.reports.quantified import quantified_table, write_quantified
from auglean.reports.spectrum import write_spectrum
from auglean.reports.tables import comparison_table, markdown_table, speedup_table

__all__ = [
    "comparison_table",
    "condensation_table",
    "curve_table",
    "markdown_table",
    "quantified_table",
    "speedup_table",
    "write",
    "write_condensation",
    "write_curve",
    "write_quantified",
    "write_spectrum",
]
