"""What all commands share: how they end, log, take overrides and show progress.

Nothing here imports torch: a command's `--help` must take less than two seconds, so heavy modules are imported after
its arguments are parsed. Logs and progress go to stderr, reports that a user may pipe go to stdout.
"""

import argparse
import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import NoReturn, TypeVar

from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from gslrm.errors import ToldElsewhere, UserError

Item = TypeVar("Item")

EXIT_USER_ERROR = 2  # as argparse ends on a wrong option
EXIT_RESUMABLE = 75  # EX_TEMPFAIL of sysexits.h: the same command, given again, goes on
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells report it
PLAIN_INTERVAL_SECONDS = 15.0  # between progress lines when the console is not a terminal

# Threads of torch that wait by spinning take the core from whoever they wait for: with one other busy process on two
# cores, a training pass took 1.2 s instead of 0.2 s. Torch reads this when it is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

_console = Console(stderr=True, emoji=False)  # "a:b:" is no letter in a box
_logger = logging.getLogger(__name__)


def run(main: Callable[[], int | None]) -> NoReturn:
    """Run a command and leave with its exit status; a `UserError` ends it with its message and no traceback."""
    setup_logging()
    try:
        status = main()
    except ToldElsewhere:
        sys.exit(EXIT_USER_ERROR)
    except UserError as error:
        _console.print(f"error: {error}", style="bold red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(EXIT_USER_ERROR)
    except KeyboardInterrupt:
        _console.print("interrupted", soft_wrap=True)
        sys.exit(EXIT_INTERRUPTED)
    sys.exit(status)


def setup_logging() -> None:
    """Send log records to stderr: with colour on a terminal, as plain lines elsewhere.

    Under torchrun only the first process reports progress; warnings of all are shown.
    """
    handler: logging.Handler
    if _console.is_terminal:
        handler = RichHandler(console=_console, show_path=False, log_time_format="%H:%M:%S")
        handler.setFormatter(logging.Formatter("%(message)s"))
    else:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("gslrm").setLevel(logging.INFO if first_process() else logging.WARNING)


def first_process() -> bool:
    """Whether this is the first of the processes that torchrun started, or the only one."""
    return os.environ.get("RANK", "0") == "0"


def report(text: str) -> None:
    """Write a command's result to stdout."""
    sys.stdout.write(text + "\n")


def add_overrides(parser: argparse.ArgumentParser) -> None:
    """The option `--set key.path=value ...`, parsed into `arguments.overrides`."""
    parser.add_argument(
        "--set",
        dest="overrides",
        metavar="KEY=VALUE",
        nargs="+",
        action="extend",
        default=[],
        help="change configuration keys, such as training.optimizer.lr=1e-5; may be repeated",
    )


class Progress:
    """Handle of one long task: `advance` it, with a note such as the current loss."""

    def __init__(self, show: Callable[[int, str], None]) -> None:
        self.done = 0
        self._show = show

    def advance(self, count: int = 1, note: str = "") -> None:
        """Report that `count` more pieces are done."""
        self.done += count
        self._show(self.done, note)


@contextmanager
def progress(
    description: str, total: int | None = None, *, done: int = 0, every: int | None = None
) -> Iterator[Progress]:
    """Show a long task: a bar on a terminal; elsewhere a line every 15 s, or whenever `every` more pieces are done."""
    on_terminal = _console.is_terminal and first_process()
    with _bar(description, total) if on_terminal else _lines(description, total, every) as task:
        if done:
            task.advance(done)
        yield task


def track(items: Iterable[Item], description: str, total: int | None = None) -> Iterator[Item]:
    """Iterate while showing progress; `total` defaults to the length of `items`."""
    known = len(items) if isinstance(items, Sized) else None
    with progress(description, known if total is None else total) as task:
        for item in items:
            yield item
            task.advance()


@contextmanager
def _bar(description: str, total: int | None) -> Iterator[Progress]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with RichProgress(*columns, console=_console) as bar:
        task = bar.add_task(description, total=total, note="")
        yield Progress(lambda done, note: bar.update(task, completed=done, note=note))


@contextmanager
def _lines(description: str, total: int | None, every: int | None) -> Iterator[Progress]:
    start = told_at = time.monotonic()
    told = 0

    def tell(done: int, note: str) -> None:
        nonlocal told, told_at
        told, told_at = done, time.monotonic()
        of_total = f"/{total}" if total is not None else ""
        _logger.info("%s: %d%s after %.0f s %s", description, done, of_total, told_at - start, note)

    def show(done: int, note: str) -> None:
        if done - told >= every if every else time.monotonic() - told_at >= PLAIN_INTERVAL_SECONDS:
            tell(done, note)

    task = Progress(show)
    yield task
    if task.done > told or not task.done:
        tell(task.done, "")
