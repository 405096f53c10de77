"""Doctor: `python -m serve_app.doctor FILE ...`."""

import sys

from serve_app.doctor.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
