"""Units that cleaning converts between, each by its exact definition: what old tables hold, not all there are."""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple


class Unit(NamedTuple):
    """A value in this unit is (value + `offset`) * `factor` of the first unit of its dimension."""

    dimension: str
    factor: Fraction
    offset: Fraction = Fraction(0)


_EXACT: dict[str, dict[str, str]] = {
    "length": {
        "m": "1", "mm": "0.001", "cm": "0.01", "km": "1000", "in": "0.0254", "ft": "0.3048", "yd": "0.9144",
        "mi": "1609.344", "nmi": "1852",
    },
    "mass": {
        "kg": "1", "mg": "0.000001", "g": "0.001", "t": "1000", "oz": "0.028349523125", "lb": "0.45359237",
        "st": "6.35029318",
    },
    "volume": {
        "l": "1", "ml": "0.001", "m3": "1000", "gal_us": "3.785411784", "gal_uk": "4.54609", "bbl": "158.987294928",
    },
    "area": {
        "m2": "1", "cm2": "0.0001", "km2": "1000000", "ha": "10000", "ft2": "0.09290304", "acre": "4046.8564224",
    },
    "time": {"s": "1", "ms": "0.001", "min": "60", "h": "3600", "d": "86400"},
    "energy": {
        "J": "1", "kJ": "1000", "MJ": "1000000", "GJ": "1000000000", "Wh": "3600", "kWh": "3600000",
        "MWh": "3600000000",
    },
    "power": {"W": "1", "kW": "1000", "MW": "1000000"},
    "pressure": {"Pa": "1", "hPa": "100", "kPa": "1000", "mbar": "100", "bar": "100000"},
    "speed": {"m/s": "1", "km/h": "5/18", "mph": "0.44704", "kn": "463/900"},
    "share": {"ratio": "1", "percent": "0.01", "permille": "0.001"},
}  # fmt: skip

UNITS: dict[str, Unit] = {
    **{
        name: Unit(dimension, Fraction(factor)) for dimension, units in _EXACT.items() for name, factor in units.items()
    },
    "K": Unit("temperature", Fraction(1)),
    "degC": Unit("temperature", Fraction(1), Fraction("273.15")),
    "degF": Unit("temperature", Fraction(5, 9), Fraction("459.67")),
}
"""Name -> unit. The case counts: `mW` is not `MW`."""


class Conversion(NamedTuple):
    """(value + `before`) * `times` / `by` + `after`, which loses least: whole factors, and at most one of the sums."""

    before: float
    times: int
    by: int
    after: float


def conversion(old: str, new: str) -> Conversion:
    """From one unit to another of the same dimension. Raises KeyError for a unit that is none here."""
    a, b = UNITS[old], UNITS[new]
    ratio = a.factor / b.factor
    before, after = a.offset - b.offset / ratio, ratio * a.offset - b.offset
    if _is_decimal(before):
        return Conversion(float(before), ratio.numerator, ratio.denominator, 0.0)
    return Conversion(0.0, ratio.numerator, ratio.denominator, float(after))


def _is_decimal(number: Fraction) -> bool:
    rest = number.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    return rest == 1
