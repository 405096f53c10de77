"""Run the check: `python -m serve_app.check FILE`."""

import sys

from serve_app.check.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
