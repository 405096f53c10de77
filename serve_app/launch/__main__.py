"""`python -m serve_app.launch FILE`, as `make serve` runs it."""

import sys

from serve_app.launch.start import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
