"""`python -m wsgiapp.modelserver`, and the command `tensorflow_model_server`."""

import faulthandler
import logging
import os
import sys

from wsgiapp.errors import WsgiappError
from wsgiapp.modelserver import flags
from wsgiapp.modelserver.signals import StopSignals
from wsgiapp.observability import logs
from wsgiapp.observability.native_output import STACKS_SIGNAL
from wsgiapp.tfserving import model_config


def main() -> int:
    """Run the model server; the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    logs.never_wait(sys.stderr.fileno())  # a call that logs does not wait for whoever reads
    logging.raiseExceptions = False
    faulthandler.register(STACKS_SIGNAL)
    parsed = flags.parse()
    signals = StopSignals()
    try:
        if parsed.model_config_file:
            config = model_config.read(parsed.model_config_file)
        else:
            config = model_config.single_model(parsed.model_name, parsed.model_base_path)
        model_config.models_of(config, where=str(parsed.model_config_file or "the command line"))
        from wsgiapp.modelserver.server import serve  # only now: it imports TensorFlow, which takes seconds

        signals.drain_first()
        ended = serve(parsed, config, signals.stop)
    except (WsgiappError, RuntimeError) as exc:
        print(f"model server: {exc}", file=sys.stderr)
        return 1
    if not ended:
        logging.warning("a call or a load did not end in time and is left behind")
        os._exit(0)  # Python would wait for its thread
    return 0


if __name__ == "__main__":
    sys.exit(main())
