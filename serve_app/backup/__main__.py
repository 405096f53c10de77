"""Back up: `python -m serve_app.backup FILE --output FOLDER`."""

import sys

from serve_app.backup.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
