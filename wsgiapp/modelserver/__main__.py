"""`python -m wsgiapp.modelserver`."""

import logging
import sys

from wsgiapp.errors import WsgiappError
from wsgiapp.modelserver import flags


def main() -> int:
    """Run the model server; the exit status."""
    parsed = flags.parse()
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    from wsgiapp.modelserver.server import serve  # only now: it imports TensorFlow, which takes seconds

    try:
        serve(parsed)
    except (WsgiappError, RuntimeError) as exc:
        print(f"model server: {exc}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
