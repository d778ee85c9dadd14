"""Draw docs/architecture.svg from the code: the layers of pyproject.toml, the modules in each, and who imports whom.

python docs/architecture_picture.py           write the picture
python docs/architecture_picture.py --check   exit 1 when the picture is not the code's
"""

from __future__ import annotations

import ast
import sys
import tomllib
from collections import Counter
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "architecture.svg"
WIDTH, LINE, PAD, COLUMN = 1000, 17, 14, 232


def read_layers() -> list[list[str]]:
    """Return the layers from the top down, each a list of the packages that share it."""
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]
    return [[name.strip().removeprefix("sane.") for name in layer.split("|")] for layer in contract["layers"]]


def modules_of(package: str) -> list[Path]:
    """Return the modules of a package, or the one module of that name."""
    folder = ROOT / "sane" / package
    found = sorted(folder.rglob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]
    return [path for path in found if path.name != "__init__.py"]


def imports_of(path: Path) -> set[str]:
    """Return the packages of sane that a module imports anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sane."):
            names.add((node.module or "").split(".")[1])
        elif isinstance(node, ast.Import):
            names.update(alias.name.split(".")[1] for alias in node.names if alias.name.startswith("sane."))
    return names


def draw() -> str:
    """Return the picture as SVG text."""
    parts: list[str] = []
    top = PAD
    for layer in read_layers():
        share = (WIDTH - PAD * (len(layer) + 1)) / len(layer)
        boxes = [_box(package, PAD + index * (share + PAD), top, share) for index, package in enumerate(layer)]
        height = max(height for height, _ in boxes)
        for index, (_, text) in enumerate(boxes):
            left = PAD + index * (share + PAD)
            parts.append(f'<rect class="layer" x="{left:.0f}" y="{top}" width="{share:.0f}" height="{height}" rx="6"/>')
            parts.append(text)
        top += height + PAD
    style = (
        "text{font:12px system-ui,sans-serif;fill:#1f2933}.name{font-weight:600;font-size:14px}"
        ".uses{fill:#52606d;font-size:11px}.layer{fill:#f5f7fa;stroke:#9aa5b1}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" width="{WIDTH}" height="{top}">\n'
        f'<style>{style}</style>\n<rect width="100%" height="100%" fill="#fff"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _box(package: str, left: float, top: int, width: float) -> tuple[int, str]:
    modules = modules_of(package)
    uses = Counter(name for path in modules for name in imports_of(path) if name != package)
    columns = max(1, int((width - PAD) // COLUMN))
    rows = -(-len(modules) // columns)
    lines = [f'<text class="name" x="{left + PAD:.0f}" y="{top + 22}">{escape(package)}</text>']
    below = ", ".join(f"{name} {count}" for name, count in sorted(uses.items()))
    if below:
        at = f'x="{left + width - PAD:.0f}" y="{top + 22}" text-anchor="end"'
        lines.append(f'<text class="uses" {at}>imports {escape(below)}</text>')
    base = ROOT / "sane" / package
    for index, path in enumerate(modules):
        name = path.relative_to(base).with_suffix("") if base.is_dir() else Path(path.stem)
        x, y = left + PAD + (index // rows) * COLUMN, top + 42 + (index % rows) * LINE
        lines.append(f'<text x="{x:.0f}" y="{y}">{escape(str(name))}</text>')
    return 36 + rows * LINE, "\n".join(lines)


def main() -> int:
    """Write the picture, or with --check say whether it is the code's."""
    text = draw()
    if "--check" in sys.argv[1:]:
        if PICTURE.exists() and PICTURE.read_text() == text:
            return 0
        print(
            f"{PICTURE.relative_to(ROOT)} is not the code's; run: python docs/architecture_picture.py", file=sys.stderr
        )
        return 1
    PICTURE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
