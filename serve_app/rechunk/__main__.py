"""Run the command: `python -m serve_app.rechunk`."""

import sys

from serve_app.rechunk.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
