"""The commands, a file each: thin faces of the Python call of the same name, whose docstring is its `--help`."""

from auglean.commands.compare import compare
from auglean.commands.condense import condense
from auglean.commands.curve import curve
from auglean.commands.fit import fit
from auglean.commands.quantify import quantify
from auglean.commands.select import select

__all__ = ["compare", "condense", "curve", "fit", "quantify", "select"]
