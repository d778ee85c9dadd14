"""Draw docs/architecture.svg from the code: the layers of pyproject.toml, the modules of each, and who imports whom.

python docs/architecture_picture.py           write the picture
python docs/architecture_picture.py --check   exit 1 when the picture is not the code's
"""

from __future__ import annotations

import ast
import sys
import textwrap
import tomllib
from collections import Counter
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "architecture.svg"
WIDTH, LINE, PAD, LABEL = 1000, 17, 14, 84
LETTER = 7.0  # an upper bound of a letter's width at 12 pixels, in the fonts that `system-ui` stands for
STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#1f2933}.name{font-weight:600;font-size:14px}.folder{font-weight:600}"
    ".says{fill:#52606d;font-style:italic}.uses{fill:#52606d;font-size:11px}.layer{fill:#f5f7fa;stroke:#9aa5b1}"
)


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


def says(package: str) -> str:
    """Return the first sentence of a package's, or a module's, docstring."""
    path = ROOT / "sane" / package / "__init__.py"
    text = ast.get_docstring(ast.parse((path if path.exists() else path.parent.with_suffix(".py")).read_text())) or ""
    return " ".join(text.partition("\n\n")[0].split()).rstrip(".")


def folders_of(package: str) -> dict[str, list[str]]:
    """Return the names of a package's modules by the folder they are in, those in none under ""."""
    base, found = ROOT / "sane" / package, dict[str, list[str]]()
    for path in modules_of(package) if base.is_dir() else []:
        folder = path.relative_to(base).parent.as_posix().removeprefix(".")
        found.setdefault(folder, []).append(path.stem)
    return dict(sorted(found.items()))


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
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" width="{WIDTH}" height="{top}">\n'
        f'<style>{STYLE}</style>\n<rect width="100%" height="100%" fill="#fff"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _box(package: str, left: float, top: int, width: float) -> tuple[int, str]:
    """Return the height of a layer's box and what is written in it: its name, what it is, its modules by folder."""
    uses = Counter(name for path in modules_of(package) for name in imports_of(path) if name != package)
    texts = [_text(left + PAD, top + 22, package, "name")]
    if uses:
        below = "imports " + ", ".join(f"{name} {count}" for name, count in sorted(uses.items()))
        texts.append(_text(left + width - PAD, top + 22, below, "uses", ' text-anchor="end"'))
    y = top + 22
    for line in _lines(says(package), width):
        texts.append(_text(left + PAD, y := y + LINE, line, "says"))
    folders = folders_of(package)
    indent = LABEL if len(folders) > 1 else 0
    for folder, modules in folders.items():
        y += 6
        if folder:
            texts.append(_text(left + PAD, y + LINE, folder, "folder"))
            for line in _lines(says(f"{package}/{folder}"), width - indent):
                texts.append(_text(left + PAD + indent, y := y + LINE, line, "says"))
        for line in _lines("  ".join(modules), width - indent):
            texts.append(_text(left + PAD + indent, y := y + LINE, line))
    return y - top + PAD, "\n".join(texts)


def _lines(text: str, width: float) -> list[str]:
    return textwrap.wrap(text, int((width - 2 * PAD) / LETTER), break_on_hyphens=False)


def _text(x: float, y: float, text: str, style: str = "", more: str = "") -> str:
    named = f' class="{style}"' if style else ""
    return f'<text{named} x="{x:.0f}" y="{y:.0f}"{more} xml:space="preserve">{escape(text)}</text>'


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
