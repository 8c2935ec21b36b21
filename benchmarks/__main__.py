"""``python -m benchmarks [NAME ...] [--full|--quick] [--page]``: all questions, or some.

Prints one table and writes it, the figures as JSON and the plot of the fan-out to
``benchmarks/results/``; questions that are not named keep their last answers. ``--page`` puts the
figures into ``docs/performance.md`` and ``README.md`` as well; with ``--last`` nothing is measured.
"""

import argparse
import sys

from benchmarks.suite import QUESTIONS, main, refresh

parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(QUESTIONS))
parser.add_argument("--full", action="store_true", help="the large sizes too: an hour or more")
parser.add_argument("--quick", action="store_true", help="one round each, to see that it works")
parser.add_argument("--rounds", type=int, help="of each benchmark, instead of its own number")
parser.add_argument("--page", action="store_true", help="refresh the documentation as well")
parser.add_argument("--last", action="store_true", help="measure nothing, use the last figures")
options = parser.parse_args()
unknown = [name for name in options.names if name not in QUESTIONS]
if unknown:
    parser.error(f"there is no benchmark {', '.join(unknown)}; there are {', '.join(QUESTIONS)}")
arguments = [f"--{name}" for name in ("full", "quick") if getattr(options, name)]
if options.rounds is not None:
    arguments += ["--rounds", str(options.rounds)]
answered = options.last or main(options.names or QUESTIONS, arguments)
if options.page:
    refresh()
sys.exit(not answered)
