"""`python -m bench [PART …]`: measure, print, and write what was found into docs/performance.md."""

from __future__ import annotations

import argparse
import datetime as dt
from pathlib import Path

from bench import fleet, lab, render
from bench.measure import Part, load, machine, table

PARTS: tuple[Part, ...] = (*render.PARTS, *lab.PARTS, *fleet.PARTS)
DOCUMENT = Path(__file__).parents[1] / "docs" / "performance.md"


def main() -> None:
    """Measure the named parts, or all."""
    parser = argparse.ArgumentParser(description="Measure speed and memory, each beside its baseline.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(part.name for part in PARTS))
    parser.add_argument("--print", action="store_true", dest="only_print", help="leave docs/performance.md alone")
    options = parser.parse_args()
    known = {part.name: part for part in PARTS}
    if wrong := [name for name in options.parts if name not in known]:
        raise SystemExit(f"{wrong[0]}: no such part; there are {', '.join(known)}")
    for name in options.parts or known:
        part, before = known[name], load()
        rows = part.measure()
        found = f"{table(rows)}\n\n{_circumstances(before)}\n"
        print(f"\n{part.name}\n\n{found}")  # noqa: T201  # its output is what it is for
        if not options.only_print:
            _write(part, found)


def _circumstances(before: str) -> str:
    day = dt.datetime.now(dt.UTC).date().isoformat()
    return f"*{day}; {machine()}; load average {before} before and {load()} after.*"


def _write(part: Part, found: str) -> None:
    """Put a part's table in the place of the old one."""
    text = DOCUMENT.read_text(encoding="utf-8")
    before, opening, rest = text.partition(f"<!-- {part.name} -->\n")
    _, closing, after = rest.partition(f"<!-- /{part.name} -->\n")
    if not (opening and closing):
        raise SystemExit(f"{DOCUMENT}: has no place for {part.name}")
    DOCUMENT.write_text(f"{before}{opening}{found}{closing}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
