"""What the rules' formatting helpers need to know of a locale, from CLDR by way of Babel."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

from babel import Locale, UnknownLocaleError
from babel.numbers import get_currency_precision

#: Currencies that are given with each locale; others are shown by their code with two decimals.
CURRENCIES = (
    *("AUD", "BRL", "CAD", "CHF", "CNY", "CZK", "DKK", "EUR", "GBP", "HKD", "HUF", "ILS", "INR", "JPY", "KRW"),
    *("MXN", "NOK", "NZD", "PLN", "RON", "SEK", "SGD", "THB", "TRY", "UAH", "USD", "ZAR"),
)


def locale_data(names: Sequence[str]) -> dict[str, Any]:
    """By name, what the helpers need; raises ``ValueError`` for a locale that does not exist."""
    return {name.replace("-", "_"): _data(name.replace("-", "_")) for name in names}


@cache
def _data(name: str) -> dict[str, Any]:
    try:
        locale = Locale.parse(name)
    except (UnknownLocaleError, ValueError) as error:
        raise ValueError(f"there is no locale {name!r}") from error
    symbols = locale.number_symbols.get("latn") or next(iter(locale.number_symbols.values()))
    pattern = locale.decimal_formats[None]
    money = locale.currency_formats["standard"].pattern.split(";")[0]
    before, after = re.split(r"[#0][#0.,]*", money, maxsplit=1)
    months, days = locale.months["format"], locale.days["format"]
    return {
        "decimal": symbols["decimal"],
        "group": symbols["group"],
        "minus": symbols["minusSign"],
        "grouping": list(pattern.grouping),
        "currencyPattern": [before, None] if "¤" in before else [None, after],
        "currencies": {
            code: [locale.currency_symbols.get(code, code), get_currency_precision(code)] for code in CURRENCIES
        },
        "dates": {style: locale.date_formats[style].pattern for style in ("short", "medium", "long", "full")},
        "months": [months["wide"][n] for n in range(1, 13)],
        "shortMonths": [months["abbreviated"][n] for n in range(1, 13)],
        # CLDR counts from Monday, JavaScript from Sunday.
        "days": [days["wide"][(n - 1) % 7] for n in range(7)],
        "shortDays": [days["abbreviated"][(n - 1) % 7] for n in range(7)],
    }
