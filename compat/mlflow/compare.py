"""Answers of two scoring servers."""

import math

TOLERANCE = 1e-6


def differences(got, wanted, place="$"):
    """One line each. Numbers may differ by a millionth; the words of errors may differ, their code may not."""
    if isinstance(wanted, dict) and "error_code" in wanted:
        code = got.get("error_code") if isinstance(got, dict) else got
        return [] if code == wanted["error_code"] else [f"{place}: error {code} instead of {wanted['error_code']}: {wanted.get('message')}"]
    if isinstance(wanted, dict):
        if not isinstance(got, dict) or list(got) != list(wanted):
            return [f"{place}: {got} instead of {wanted}"]
        return [line for key in wanted for line in differences(got[key], wanted[key], f"{place}.{key}")]
    if isinstance(wanted, list):
        if not isinstance(got, list) or len(got) != len(wanted):
            return [f"{place}: {got} instead of {wanted}"]
        return [line for i, pair in enumerate(zip(got, wanted, strict=True)) for line in differences(*pair, f"{place}[{i}]")]
    return [] if equal(got, wanted) else [f"{place}: {got!r} instead of {wanted!r}"]


def equal(got, wanted):
    if isinstance(wanted, float) and type(got) is float:
        return got == wanted or (math.isnan(got) and math.isnan(wanted)) or abs(got - wanted) <= TOLERANCE * max(1, abs(wanted))
    return type(got) is type(wanted) and got == wanted
