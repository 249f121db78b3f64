"""Runs the arms of docs/replication_plan.md that have no result yet, and prints the tables of them.

python -m bench.replication                    # goes on where it was, in the plan's order
python -m bench.replication --plan first       # the first part of the plan
python -m bench.replication --until walk-1     # up to this arm (of the first seed unless --seed says another)
python -m bench.replication --list             # what is done and what is not
python -m bench.replication --report           # prints the tables and puts them into docs/
"""

import argparse
from pathlib import Path

from rich.table import Table

from bench.replication import first, second, third
from bench.replication.arms import Replication
from bench.replication.figure import draw
from bench.replication.report import report, write_report
from bench.replication.results import FOLDER, Results
from bench.shared import shared_data
from itool_cli.console import make_console
from itool_cli.figures import save

PLANS = {plan.name: plan for plan in (first.PLAN, second.PLAN, second.AGAIN, third.PLAN)}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.replication", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--plan", choices=list(PLANS), default="second", help="which part of the plan")
    parser.add_argument("--until", metavar="ARM", help="stop after this arm")
    parser.add_argument("--seed", type=int, default=1, help="which seed's arm --until means")
    parser.add_argument("--root", type=Path, default=Path("runs/replication"), help="where the run folders are")
    parser.add_argument("--data", type=Path, help="the folder of the data sets (see docs/replication_plan.md)")
    parser.add_argument("--list", action="store_true", help="say what is done")
    parser.add_argument("--report", action="store_true", help="make the tables")
    options = parser.parse_args()
    console, plan = make_console(), PLANS[options.plan]
    results = Results(FOLDER / plan.name)
    if options.report:
        write_report(plan, results)
        if plan is first.PLAN:
            save(draw(results), plan.page.with_suffix(".png"))
        print(report(plan, results))
        return
    if options.list:
        table = Table("arm", "seed", "tier", "done")
        for arm in plan.arms:
            table.add_row(arm.name, str(arm.seed), arm.tier, "yes" if (arm.name, arm.seed) in results.facts else "")
        console.print(table)
        return
    last = [i for i, arm in enumerate(plan.arms) if (arm.name, arm.seed) == (options.until, options.seed)]
    if options.until and not last:
        parser.error(f"--until {options.until}: no such arm of seed {options.seed}; --list names them")
    data = options.data or shared_data()
    Replication(console, options.root / plan.name, plan, data, results, last[0] if last else None).do_all()


if __name__ == "__main__":
    main()
