"""Laterality, view and view modifiers in the field's own codes.

View codes and modifiers are those of PS3.16 CID 4014 and CID 4015, in the
SNOMED CT and the older SNOMED RT (SRT, SNM3, 99SDM) form. Whatever is not in
these tables is dropped, so no free text gets out of a header.
"""

from __future__ import annotations

from typing import Final

VIEW_CODES: Final = {
    "399260004": "ML",
    "R-10224": "ML",
    "399368009": "MLO",
    "R-10226": "MLO",
    "399352003": "LM",
    "R-10228": "LM",
    "399099002": "LMO",
    "R-10230": "LMO",
    "399162004": "CC",
    "R-10242": "CC",
    "399196006": "FB",
    "R-10244": "FB",
    "399188001": "SIO",
    "R-102D0": "SIO",
    "441555000": "ISO",
    "R-40AAA": "ISO",
    "399265009": "XCC",
    "R-102CF": "XCC",
    "399192008": "XCCL",
    "R-1024A": "XCCL",
    "399101009": "XCCM",
    "R-1024B": "XCCM",
    "127457009": "SPECIMEN",
    "G-8310": "SPECIMEN",
}
"""Code value of CID 4014 to the view's abbreviation."""

MODIFIER_CODES: Final = {
    "399161006": "cleavage",
    "R-102D2": "cleavage",
    "399011000": "axillary tail",
    "R-102D1": "axillary tail",
    "399197002": "rolled lateral",
    "R-102D3": "rolled lateral",
    "399226006": "rolled medial",
    "R-102D4": "rolled medial",
    "414493004": "rolled inferior",
    "R-102CA": "rolled inferior",
    "415670009": "rolled superior",
    "R-102C9": "rolled superior",
    "399209000": "implant displaced",
    "R-102D5": "implant displaced",
    "399163009": "magnification",
    "R-102D6": "magnification",
    "399055006": "spot compression",
    "R-102D7": "spot compression",
    "399110001": "tangential",
    "R-102C2": "tangential",
    "442581004": "nipple in profile",
    "R-40AB3": "nipple in profile",
    "441752004": "anterior compression",
    "P2-00161": "anterior compression",
    "442593008": "infra-mammary fold",
    "R-40ABE": "infra-mammary fold",
    "442580003": "axillary tissue",
    "R-40AB2": "axillary tissue",
}
"""Code value of CID 4015 to the modifier's name."""

VIEWS: Final = frozenset(VIEW_CODES.values())

_PREFIXES: Final = {"M": "magnification", "S": "spot compression"}
_SUFFIXES: Final = {
    "RL": "rolled lateral",
    "RM": "rolled medial",
    "RI": "rolled inferior",
    "RS": "rolled superior",
    "ID": "implant displaced",
    "NP": "nipple in profile",
    "AC": "anterior compression",
    "IMF": "infra-mammary fold",
    "AX": "axillary tissue",
}
_REPLACING: Final = {"CV": ("CC", "cleavage"), "AT": ("MLO", "axillary tail"), "TAN": (None, "tangential")}


def laterality_of(*values: str) -> str | None:
    """First of the values that is a laterality.

    Parameters
    ----------
    *values : str
        As ImageLaterality, FrameLaterality and Laterality have them, best first.

    Returns
    -------
    {"L", "R", "B"} or None
    """
    return next((value for value in (v.strip().upper() for v in values) if value in ("L", "R", "B")), None)


def view_of_position(position: str) -> tuple[str | None, tuple[str, ...]]:
    """View and modifiers from a ViewPosition value.

    Parameters
    ----------
    position : str
        A view's abbreviation, with the prefixes and suffixes of the ACR's 1999
        quality control manual (``MCC``, ``SMLO``, ``CCID``, ``AT``).

    Returns
    -------
    view : str or None
    modifiers : tuple of str
    """
    code = position.strip().upper().replace(" ", "").replace("-", "")
    if code in VIEWS:
        return code, ()
    if code in _REPLACING:
        view, modifier = _REPLACING[code]
        return view, (modifier,)
    modifiers: list[str] = []
    for suffix, name in _SUFFIXES.items():
        if code.endswith(suffix) and code not in VIEWS and len(code) > len(suffix):
            code, modifiers = code[: -len(suffix)], [name]
            break
    while code not in VIEWS and code[:1] in _PREFIXES and len(code) > 2:
        modifiers.insert(0, _PREFIXES[code[0]])
        code = code[1:]
    return (code, tuple(modifiers)) if code in VIEWS else (None, ())
