"""What the helpers know of locales: every one that Babel has can be given to them."""

from __future__ import annotations

import json

from babel.localedata import locale_identifiers
from twisted.trial.unittest import SynchronousTestCase

from pfserver.projects.locales import CURRENCIES, locale_data


class LocaleTests(SynchronousTestCase):
    def test_every_locale(self) -> None:
        for name in locale_identifiers():
            data = locale_data([name])[name]
            self.assertEqual(sorted(data["currencies"]), sorted(CURRENCIES), name)
            self.assertEqual([len(data[key]) for key in ("months", "shortMonths", "days", "shortDays")], [12, 12, 7, 7])
            self.assertEqual(len([one for one in data["currencyPattern"] if one is not None]), 1, name)
            self.assertIn("¤", "".join(one or "" for one in data["currencyPattern"]), name)
            self.assertTrue(data["decimal"] and data["grouping"], name)
            json.dumps(data)

    def test_names(self) -> None:
        self.assertEqual(locale_data(["de-CH"]), locale_data(["de_CH"]))
        self.assertEqual(locale_data(["en"])["en"]["days"][0], "Sunday")
        for name in ("", "xx", "de_XX", "../de", "de_CH_x", "\0"):
            self.assertRaises(ValueError, locale_data, [name])
