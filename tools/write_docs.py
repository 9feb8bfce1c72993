"""Write the generated pages of docs/ again."""

from pathlib import Path

from streamgauge.options import options_table

DOCS = Path(__file__).parent.parent / "docs"


def main() -> None:
    """Write every page that is made from the code."""
    (DOCS / "options.md").write_text(options_table())


if __name__ == "__main__":
    main()
