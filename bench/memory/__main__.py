"""Estimates of memory beside counts on torch's meta device, for public models on cards of 24, 40 and 80 GiB.

python -m bench.memory [--models MODEL …]
"""

import argparse
from collections.abc import Iterable

from bench.memory.models import MODELS
from bench.memory.table import CARDS, Compared, generating, judged, trained
from itool_data.sizing.need import GIB

TRAININGS = ("bf16", "NF4", "all kept")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.memory")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS), metavar="MODEL")
    print("| model | card | work | at once | estimate, GiB | count, GiB | estimate / count |")
    print("|---|---|---|---|---|---|---|")
    for name in parser.parse_args().models:
        for device in CARDS:
            _print(name, device.name, generating(name, device))
        _print(name, "", judged(name))
        for what in TRAININGS:
            _print(name, "", trained(name, what))


def _print(name: str, card: str, found: Iterable[Compared]) -> None:
    for row in found:
        figures = f"{row.estimate / GIB:.2f} | {row.count / GIB:.2f} | {row.ratio:.2f}"
        print(f"| {name} | {card} | {row.what} | {row.does} | {figures} |", flush=True)


if __name__ == "__main__":
    main()
