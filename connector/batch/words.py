"""A cell means yes or no only if it is a known word of Excel or RVTools in one of their languages. Pure."""

# ruff: noqa: RUF001 - letters of other alphabets are meant
from __future__ import annotations

import unicodedata
from typing import Final

_YES: Final = """
    true yes y t 1 -1 on wahr ja richtig j vrai oui o vero si sì sí verdadero verdadeiro sim waar prawda tak sant sann sand tosi
    kyllä pravda ano áno igaz igen adevărat da doğru evet истина да істина так истинно istina αληθησ αληθεσ αληθής ναι cert
    egia bai tõene tõsi jah patiess jā tiesa taip true() =true() vrai() wahr() вярно resnično 真 是 はい 참 예 đúng có benar ya
"""
_NO: Final = """
    false no n f 0 off falsch nein faux non falso não nao onwaar nee fałsz nie falskt nej usann nei falsk epätosi ei nepravda ne
    nem hamis fals nu yanlış hayır ложь нет хибність ні laž laz netočno ψευδησ ψευδεσ ψευδής όχι fals faltsua ez väär vale
    aplams nē netiesa false() =false() faux() falsch() невярно не 假 否 いいえ 偽 거짓 아니요 sai không salah tidak
"""


def _fold(word: str) -> str:
    """The word without letter case, accents and the dot of the i."""
    parts = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", word).casefold())
    return "".join(c for c in parts if not unicodedata.combining(c)).replace("ı", "i").strip()


YES: Final = frozenset(map(_fold, _YES.split()))
NO: Final = frozenset(map(_fold, _NO.split()))


def truth(cell: str) -> bool | None:
    """Whether the cell means yes. An empty cell means no; None for an unknown word, which is never guessed."""
    word = _fold(cell)
    if not word or word in NO:
        return False
    return True if word in YES else None
