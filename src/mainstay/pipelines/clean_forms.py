"""Normal forms that a library knows better than SQL: functions of Python that DuckDB calls, each value once.

The libraries are the extra `cleaning`, loaded when they are needed. That they are installed, and in which version, is
asked when the cleaning is made, since the version is part of what equal rows are cleaned to.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version

import msgspec

from mainstay.core.errors import Refused

MOST_REMEMBERED = 100_000
"""Values whose form is remembered per function: columns repeat theirs."""

_PHONE = re.compile(r"\+?[\d\s()./\u2010-\u2015-]+")
_NO_COUNTRIES = frozenset(["AC", "CP", "CQ", "DG", "EA", "EU", "EZ", "IC", "QO", "TA", "UN", "XA", "XB", "ZZ"])
"""Codes that CLDR has and ISO 3166 has not: groups of countries, islands without a code, and tests. `XK` stays."""

Form = Callable[..., str | None]
"""(text, argument) -> its normal form; None where it has none."""


class Function(msgspec.Struct, frozen=True):
    """A function that SQL calls by `name`."""

    name: str
    make: Callable[[], Form]
    package: str = ""
    """The distribution that must be installed; empty: none."""


def _email() -> Form:
    from email_validator import EmailNotValidError, validate_email

    def form(text: str, _argument: str) -> str | None:
        try:
            return validate_email(text.strip(), check_deliverability=False).normalized
        except EmailNotValidError:
            return None

    return form


def _phone() -> Form:
    import phonenumbers

    def form(text: str, country: str) -> str | None:
        if not _PHONE.fullmatch(text.strip()):
            return None
        try:
            number = phonenumbers.parse(text, country)
        except phonenumbers.NumberParseException:
            return None
        if not phonenumbers.is_valid_number(number):
            return None
        return str(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))

    return form


def _country() -> Form:
    tables: dict[str, dict[str, str]] = {}

    def form(text: str, languages: str) -> str | None:
        if languages not in tables:
            tables[languages] = _country_table(languages.split(","))
        key = _folded(text)
        return tables[languages].get(key.zfill(3) if key.isdigit() else key)

    return form


def _country_table(languages: list[str]) -> dict[str, str]:
    """Folded code or name -> ISO 3166 alpha-2. Codes win over names; what means two countries means none."""
    from babel import Locale
    from babel.core import get_global

    codes = {str(code) for code in Locale("en").territories if re.fullmatch("[A-Z]{2}", str(code))} - _NO_COUNTRIES
    aliases: dict[str, list[str]] = {str(one): list(those) for one, those in get_global("territory_aliases").items()}
    named: dict[str, set[str]] = {}
    for language in languages:
        for code, name in Locale.parse(language).territories.items():
            if code in codes:
                named.setdefault(_folded(str(name)), set()).add(str(code))
    found = {name: next(iter(those)) for name, those in named.items() if len(those) == 1}
    for alias, stands_for in aliases.items():
        if len(stands_for) == 1 and stands_for[0] in codes:
            found[_folded(alias)] = stands_for[0]
    return found | {_folded(code): code for code in codes}


def _folded(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _nfkc() -> Form:
    return lambda text, _argument: unicodedata.normalize("NFKC", text)


FUNCTIONS: dict[str, Function] = {
    "email": Function("mainstay_email", _email, "email-validator"),
    "phone": Function("mainstay_phone", _phone, "phonenumberslite"),
    "country": Function("mainstay_country", _country, "babel"),
    "nfkc": Function("mainstay_nfkc", _nfkc),
}
"""Form -> its function."""


def remembering(function: Function) -> Form:
    """The function, ready to be called; NULL passes through, and each value is worked out once."""
    form = lru_cache(MOST_REMEMBERED)(function.make())
    return lambda text, argument: None if text is None else form(text, argument)


def knows(function: Function, where: str) -> str:
    """The version of what the function knows. Raises Refused when its library is not installed."""
    if not function.package:
        return f"unicode {unicodedata.unidata_version}"
    for package in (function.package, function.package.removesuffix("lite")):  # either of the two will do
        try:
            return f"{package} {version(package)}"
        except PackageNotFoundError:
            continue
    raise Refused(
        f"the step needs {function.package}, which is not installed",
        mend="pip install 'mainstay[cleaning]', or remove the step",
        where=where,
    )


def refuse_unknown_region(country: str, where: str) -> None:
    """Raises Refused when no telephone numbers are known for the country."""
    import phonenumbers

    if country not in phonenumbers.SUPPORTED_REGIONS:
        mend = "write its two letters, e.g. `phone: {country: DE}`"
        raise Refused(f"{country!r} is no country with telephone numbers", mend=mend, where=where)


def refuse_unknown_language(languages: list[str], where: str) -> None:
    """Raises Refused when the names of countries are not known in one of the languages."""
    from babel import Locale, UnknownLocaleError

    for language in languages:
        try:
            Locale.parse(language)
        except (UnknownLocaleError, ValueError):
            mend = "write its letters, e.g. `country: {languages: [de, en]}`"
            raise Refused(f"{language!r} is no language that is known here", mend=mend, where=where) from None
