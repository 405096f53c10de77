"""`python -m serve_app.launch FILE`: the same as `genserve serve FILE`."""

import sys

from serve_app.launch.start import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
