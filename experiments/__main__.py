"""Train and measure the variants of the poster's "future research" (notebooks 06 and 09 to 12).

    python -m experiments --list                       all variants, and their seeds on record
    python -m experiments [NAME ...] [--seeds 0 1 2]   train and measure these variants, or all
    python -m experiments --table                      the results for line-art, as in docs/future_research.md

Sizes come from the profile (NSTLIB_PROFILE). Checkpoints and the trained networks go to ``replicated/ablations/``, records to
``figures/ablations.json``, and the examples of seed 0 to ``figures/ablations/``. A run on record is not repeated; an
interrupted run goes on where it stopped.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock

from experiments import report, runs
from experiments.profiles import ROOT, Profile, current
from experiments.records import write_json
from experiments.variants import VARIANTS
from nstlib import ModelError


def main(arguments: Sequence[str]) -> int:
    """Run the command (see the module) and return its exit status: 1 for a failed run, 2 for a wrong argument or profile,
    130 for Ctrl+C."""
    try:
        profile = current()
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    options = parser().parse_args(arguments)
    unknown = [name for name in options.names if name not in VARIANTS]
    if unknown:
        print(f"there is no variant {', '.join(unknown)}; --list shows them", file=sys.stderr)
        return 2
    path, folder = profile.figures / "ablations.json", ROOT / "replicated" / "ablations" / profile.name
    if options.list:
        for name, variant in VARIANTS.items():
            seeds = sorted(seed for recorded, seed in report.recorded(path) if recorded == name)
            print(f"{variant.notebook}  {name:37} seeds on record: {', '.join(map(str, seeds)) or '-'}")
        return 0
    if options.table:
        print(report.line_art(report.read(path)))
        return 0
    try:
        asked = [(name, seed) for seed in options.seeds for name in options.names or VARIANTS]
        run_missing(asked, profile, path, folder)
    except (ModelError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    result = argparse.ArgumentParser(
        prog="python -m experiments", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    result.add_argument("names", nargs="*", metavar="NAME", help="variants; all if none is given")
    result.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    result.add_argument("--list", action="store_true", help="show every variant and its seeds on record")
    result.add_argument("--table", action="store_true", help="print the results for line-art")
    return result


def run_missing(asked: Sequence[tuple[str, int]], profile: Profile, path: Path, folder: Path) -> None:
    """Run the variants and seeds that are not on record, and add each to the records as soon as it is measured.

    Args:
        asked: names of variants and seeds.
        profile: sizes and counts.
        path: the records.
        folder: for checkpoints.
    """
    known = [f"{name}, seed {seed}" for name, seed in asked if (name, seed) in report.recorded(path)]
    if known:
        print(f"on record already ({len(known)}; --seeds takes others): {', '.join(known[:3])}{', ...' * (len(known) > 3)}")
    order = list(VARIANTS)
    folder.mkdir(parents=True, exist_ok=True)
    for name, seed in asked:
        if (name, seed) in report.recorded(path):  # read again each time: another process may write there, too
            continue
        record = runs.run(name, seed, profile, folder)
        with FileLock(folder / "records.lock"):  # another process may add a record, too
            records = [*report.read(path), record]
            write_json(sorted(records, key=lambda entry: (order.index(entry["variant"]), entry["seed"])), path)
        measured = ", ".join(f"{key} {record['test'][key]:.3f}" for key in ("accuracy", "accuracy_ab", "edge_f1", "perceptual"))
        print(f"{name}, seed {seed}: {measured}; {record['seconds']} s", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
