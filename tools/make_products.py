"""Writes the sample database of the price list: 5,000 products, always the same ones."""

from __future__ import annotations

import random
import sqlite3
import sys
from contextlib import closing

NAMES = {
    "Paper": ["Copy Paper", "Art Board", "Kraft Sheet", "Photo Paper", "Label Sheet", "Card Stock"],
    "Ink": ["Process Ink", "Spot Ink", "Metallic Ink", "UV Varnish", "Toner Set"],
    "Tools": ["Cutting Mat", "Bone Folder", "Line Gauge", "Loupe", "Roller"],
    "Finishing": ["Wire Binding", "Laminate", "Foil", "Crease Matrix", "Stitching Wire"],
    "Packaging": ["Mailing Tube", "Flat Box", "Padded Bag", "Pallet Wrap", "Tape"],
}
ADJECTIVES = ["Classic", "Fine", "Premium", "Natural", "Bright", "Heavy", "Light", "Studio", "Archive", "Everyday"]
SENTENCES = [
    "Made for long runs and quick set-up.",
    "Acid-free, and stays white for decades.",
    "Runs clean on offset and digital presses.",
    "From certified sources, packed without plastic.",
    "The favourite of our own finishing room.",
    "Tested at twenty to sixty per cent humidity.",
]


def main(path: str) -> None:
    """Write the database to ``path``."""
    dice = random.Random(5000)
    rows = []
    for number in range(1, 5001):
        category = dice.choice(list(NAMES))
        name = f"{dice.choice(ADJECTIVES)} {dice.choice(NAMES[category])} {dice.randrange(80, 400)}"
        text = " ".join(dice.sample(SENTENCES, 2))
        stock = max(0, dice.randrange(-100, 900))
        price = round(dice.lognormvariate(3, 1), 2)
        rows.append((f"N-{number:05d}", name, category, text, price, stock, dice.randrange(20, 4000)))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE IF EXISTS products")
        connection.execute(
            "CREATE TABLE products (number TEXT PRIMARY KEY, name TEXT, category TEXT, description TEXT,"
            " price REAL, stock INTEGER, weight INTEGER)"
        )
        connection.executemany("INSERT INTO products VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
        connection.commit()
        connection.execute("VACUUM")


if __name__ == "__main__":
    main(sys.argv[1])
