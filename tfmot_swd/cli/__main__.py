"""`python -m tfmot_swd.cli`."""

import sys

from tfmot_swd.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
