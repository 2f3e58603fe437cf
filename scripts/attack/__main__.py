"""`python scripts/attack`: see `--help`."""

import os
import sys
from pathlib import Path

if __name__ == "__main__":
    # Run as a folder, Python puts this folder in front of the path, where its modules would hide others.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    os.environ |= {"no_proxy": "*", "NO_PROXY": "*"}
    from attack.cli import main

    sys.exit(main())
