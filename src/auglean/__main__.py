"""`python -m auglean` is the command line."""

import sys

from auglean.cli import main

if __name__ == "__main__":
    sys.exit(main())
