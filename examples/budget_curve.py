"""How many digits need augmented copies? Accuracy against their number, by influence and at random, and a report."""

from pathlib import Path

from rich.console import Console

import auglean as al
from auglean import reports


def main(folder: str = "runs/curve-example") -> al.BudgetCurve:
    found = al.budget_curve(
        "digits",
        classes=[3, 8],
        transform="rotate",
        selectors=["influence-proportional", "influence"],
        budgets=[5, 10, 25, 50, 100],
        rounds=3,
        steps=200,
        seed=0,
    )
    Console().print(reports.curve_table(found.result))
    print(found.answer)
    print(reports.write_curve(found, Path(folder) / "report.html"))
    return found


if __name__ == "__main__":
    main()
