"""Erase: `python -m serve_app.erase FILE --key NAME ...`."""

import sys

from serve_app.erase.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
