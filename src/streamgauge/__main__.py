"""The command `streamgauge`, also as `python -m streamgauge`: what needs nothing is answered before all is loaded."""

import sys

from streamgauge.version import __version__


def main() -> None:
    """Run the command line."""
    if sys.argv[1:] == ["--version"]:
        sys.stdout.write(f"streamgauge {__version__}\n")
        return
    from streamgauge import cli  # noqa: PLC0415  takes most of a second

    cli.main()


if __name__ == "__main__":
    main()
