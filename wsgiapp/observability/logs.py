"""What processes log besides requests: text on stderr."""

import logging
import sys


def configure(level: str) -> None:
    """Set up logging of this process."""
    logging.basicConfig(
        level=level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    # A log that cannot be written (its reader has gone) must neither fail requests nor write about it.
    logging.raiseExceptions = False
