"""The package's log, shown to a person: `reptune: fetching …` on stderr.

The package logs to the logger `reptune` and shows nothing by itself, as a library should. The
command line and `reptune.setup`, behind which a person sits, call `show`.
"""

from __future__ import annotations

import logging
import sys

LOGGER = logging.getLogger("reptune")


class _Stderr(logging.Handler):
    """Writes to what `sys.stderr` is at the time: notebooks and tests replace it."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            print(self.format(record), file=sys.stderr, flush=True)
        except Exception:
            self.handleError(record)


def show(level: int = logging.INFO) -> None:
    """Show the package's log on stderr from now on; a second call changes the level alone."""
    LOGGER.setLevel(level)
    if not any(isinstance(handler, _Stderr) for handler in LOGGER.handlers):
        handler = _Stderr()
        handler.setFormatter(logging.Formatter("reptune: %(message)s"))
        LOGGER.addHandler(handler)
