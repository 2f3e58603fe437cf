"""`python scripts/bench`: see `--help`."""

import os
import sys
from pathlib import Path

if __name__ == "__main__":
    # Run as a folder, Python puts this folder in front of the path, where its modules would hide others.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    # All that is measured is on this machine, where a proxy of the environment must not be asked for it.
    os.environ |= {"no_proxy": "*", "NO_PROXY": "*", "no_grpc_proxy": "127.0.0.1,localhost"}
    from bench.cli import main

    sys.exit(main())
