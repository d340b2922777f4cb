"""What the merchandise system does each night: drops a file, under another name until it is whole.

Usage: python drop.py NIGHT [FOLDER]. The numbers are made up; night 2 has a row that cannot be right.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

NAMES = ("Käse, jung", "Brötchen", "Milch 3,5 %", "Äpfel", "Öl", 'Pfanne 28 cm "Pro"')
ARTICLES = 200


def rows(night: int) -> list[str]:
    """Every article in the first night, in later ones each tenth of them."""
    numbers = random.Random(night)
    found = []
    for at in range(0, ARTICLES, 1 if night == 1 else 10):
        name = NAMES[at % len(NAMES)].replace('"', '""')
        stock, sold = f"{numbers.randrange(0, 3_000):,}", f"{numbers.randrange(1, 400) / 10}"
        found.append(f'A-{at:04};"{name}";{stock.replace(",", ".")};{sold.replace(".", ",")}')
    if night == 2:
        found[1] = 'A-0010;"Öl";-3;1,5'
    return found


def main(night: int, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    path = folder / f"articles-{night:03}.csv"
    part = path.with_name(path.name + ".part")
    part.write_bytes("\r\n".join(["article;name;stock;sold_a_day", *rows(night), ""]).encode("cp1252"))
    part.rename(path)
    print(path)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) > 2 else "drops"))
