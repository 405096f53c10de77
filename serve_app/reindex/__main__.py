"""Run the command: `python -m serve_app.reindex`."""

import sys

from serve_app.reindex.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
