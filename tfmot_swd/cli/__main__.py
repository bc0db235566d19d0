"""`python -m tfmot_swd.cli`, which loads TensorFlow first, as any import does; `python -m tfmot_swd_cli` does not."""

import sys

from tfmot_swd.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
