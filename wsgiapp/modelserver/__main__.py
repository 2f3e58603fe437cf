"""`python -m wsgiapp.modelserver`."""

import logging
import sys

from wsgiapp import modelconfig
from wsgiapp.errors import WsgiappError
from wsgiapp.modelserver import flags


def main() -> int:
    """Run the model server; the exit status."""
    parsed = flags.parse()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    try:
        if parsed.model_config_file:
            config = modelconfig.read(parsed.model_config_file)
        else:
            config = modelconfig.single_model(parsed.model_name, parsed.model_base_path)
        models = modelconfig.models_of(config, where=str(parsed.model_config_file))
        from wsgiapp.modelserver.server import serve  # only now: it imports TensorFlow, which takes seconds

        serve(parsed, models)
    except (WsgiappError, RuntimeError) as exc:
        print(f"model server: {exc}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
