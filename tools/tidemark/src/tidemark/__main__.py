"""``python -m tidemark``: the ``tidemark`` command, where its script is on no path."""

from tidemark.main import app

if __name__ == "__main__":
    app(prog_name="tidemark")
