"""Keep the browser libraries in `src/streamgauge/dashboard/vendor/` byte for byte as npm publishes them.

    python tools/vendor.py            compare every file with the hash in vendor.json
    python tools/vendor.py --update   fetch the versions named below with `npm pack` and write vendor.json

To move to another version, change it in `PACKAGES`, run with `--update`, and read the diff. What the page
does with the libraries is not decided here: that is the import map in `index.html`.
"""

import argparse
import hashlib
import io
import json
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

VENDOR_FOLDER = Path(__file__).resolve().parents[1] / "src" / "streamgauge" / "dashboard" / "vendor"
MANIFEST = "vendor.json"


@dataclass(frozen=True, kw_only=True)
class Package:
    """One npm package: `files` maps a path inside the package to its name in the vendor folder."""

    name: str
    version: str
    licence: str
    files: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class VendoredFile:
    """One line of vendor.json; `source` is the package and the path inside it."""

    name: str
    version: str
    file: str
    sha256: str
    licence: str
    source: str


PACKAGES = (
    Package(
        name="preact",
        version="11.2.0",
        licence="MIT",
        files={
            "dist/preact.mjs": "preact.mjs",
            "hooks/dist/hooks.mjs": "preact-hooks.mjs",
            "LICENSE": "licences/preact.txt",
        },
    ),
    Package(
        name="htm",
        version="3.1.1",
        licence="Apache-2.0",
        files={"dist/htm.mjs": "htm.mjs", "LICENSE": "licences/htm.txt"},
    ),
    Package(
        name="@preact/signals",
        version="2.11.4",
        licence="MIT",
        files={"dist/signals.mjs": "preact-signals.mjs", "LICENSE": "licences/preact-signals.txt"},
    ),
    Package(
        name="@preact/signals-core",
        version="1.14.5",
        licence="MIT",
        files={
            "dist/signals-core.mjs": "preact-signals-core.mjs",
            "LICENSE": "licences/preact-signals-core.txt",
        },
    ),
    Package(
        name="uplot",
        version="1.6.32",
        licence="MIT",
        files={
            "dist/uPlot.esm.js": "uPlot.esm.js",
            "dist/uPlot.min.css": "uPlot.min.css",
            "LICENSE": "licences/uplot.txt",
        },
    ),
    Package(
        name="phoenix",
        version="1.8.16",
        licence="MIT",
        files={"priv/static/phoenix.mjs": "phoenix.mjs", "LICENSE.md": "licences/phoenix.md"},
    ),
)


class VendorError(Exception):
    """The vendored files cannot be fetched or read."""


def read_manifest(folder: Path = VENDOR_FOLDER) -> list[VendoredFile]:
    """Give the lines of `folder`/vendor.json in the order in which they stand there."""
    listed = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    return [VendoredFile(**line) for line in listed["files"]]


def problems(folder: Path = VENDOR_FOLDER) -> Iterator[str]:
    """Say, one sentence each, where `folder` differs from its vendor.json; nothing when it is in order."""
    lines = read_manifest(folder)
    for line in lines:
        path = folder / line.file
        if not path.is_file():
            yield f"{line.file}: listed in {MANIFEST} but missing; run tools/vendor.py --update"
        elif (found := _sha256(path.read_bytes())) != line.sha256:
            yield f"{line.file}: sha256 is {found}, {MANIFEST} says {line.sha256}; restore it with --update"
    listed = {line.file for line in lines} | {MANIFEST}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name not in listed:
            yield f"{name}: not listed in {MANIFEST}; add it to PACKAGES or delete it"


def update(folder: Path = VENDOR_FOLDER) -> list[VendoredFile]:
    """Fetch every package of `PACKAGES` from npm, write its files and vendor.json, and give the new lines.

    Raises VendorError where npm fails or a package lacks a file; then vendor.json is left as it was.
    """
    lines = []
    for package in PACKAGES:
        contents = _fetch(package)
        for source, name in package.files.items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(contents[source])
            lines.append(
                VendoredFile(
                    name=package.name,
                    version=package.version,
                    file=name,
                    sha256=_sha256(contents[source]),
                    licence=package.licence,
                    source=f"npm:{package.name}@{package.version}/{source}",
                )
            )
    text = json.dumps({"files": [asdict(line) for line in lines]}, indent=2)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")
    return lines


def _fetch(package: Package) -> dict[str, bytes]:
    wanted = f"{package.name}@{package.version}"
    with tempfile.TemporaryDirectory() as folder:
        command = ["npm", "pack", "--silent", "--ignore-scripts", "--pack-destination", folder, wanted]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        archives = list(Path(folder).glob("*.tgz"))
        if done.returncode != 0 or len(archives) != 1:
            raise VendorError(f"npm pack {wanted} failed ({done.returncode}): {done.stderr.strip()}")
        return _extract(archives[0].read_bytes(), package)


def _extract(archive: bytes, package: Package) -> dict[str, bytes]:
    contents: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:
        for member in tar:
            # every npm archive has one folder on top, usually "package"
            name = "/".join(PurePosixPath(member.name).parts[1:])
            if name in package.files and (file := tar.extractfile(member)) is not None:
                contents[name] = file.read()
    missing = sorted(set(package.files) - set(contents))
    if missing:
        raise VendorError(
            f"{package.name}@{package.version} has no {', '.join(missing)}; correct it in PACKAGES"
        )
    return contents


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def main() -> int:
    """Verify, or update with `--update`; the exit status is 1 when something differs."""
    parser = argparse.ArgumentParser(description="Verify or update the vendored browser libraries.")
    parser.add_argument("--update", action="store_true", help="fetch the versions in PACKAGES from npm")
    if parser.parse_args().update:
        update()
    found = list(problems())
    for problem in found:
        sys.stderr.write(f"{problem}\n")
    if not found:
        sys.stdout.write(f"{len(read_manifest())} vendored files are as {MANIFEST} says\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
