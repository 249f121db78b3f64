"""One argument against its accepted values: type, then value (docs/bfcl.md §5.1 and §5.2).

Replicated with its quirks: ints become floats at the top level only, `[]` passes wherever "" does, any option that is
no list lets every element type pass, the last option of a dict decides which error is reported.
"""

import reprlib
from typing import Any

from itool_eval.bfcl import convert_java, convert_javascript
from itool_eval.bfcl.categories import Language
from itool_eval.bfcl.decoded import OfficialRaisesError
from itool_eval.verdicts import Fault

_TYPES: dict[Language, dict[str, type]] = {
    Language.PYTHON: {
        "string": str, "integer": int, "float": float, "boolean": bool,
        "array": list, "tuple": list, "dict": dict, "any": str,
    },
    Language.JAVA: {
        "byte": int, "short": int, "integer": int, "long": int, "float": float, "double": float, "boolean": bool,
        "char": str, "String": str, "any": str, "Array": list, "ArrayList": list, "HashMap": dict,
    },
    Language.JAVASCRIPT: {
        "String": str, "integer": int, "float": float, "Bigint": int, "Boolean": bool,
        "dict": dict, "array": list, "any": str,
    },
}  # fmt: skip
_WITH_ELEMENTS = ("array", "tuple", "Array", "ArrayList")
_IGNORED = str.maketrans("", "", " ,./-_*^")


def argument_fault(
    parameter: str, value: Any, options: list[Any], schema: dict[str, Any], language: Language
) -> Fault | None:
    """Compare one argument with its accepted values.

    Args:
        parameter: its name, for messages.
        value: what the model gave; a text for Java and JavaScript, which is converted by the schema's type.
        options: the accepted values; "" means that the parameter may be left out.
        schema: the parameter's schema.
        language: the category's language.

    Returns:
        What is wrong, None if the value is accepted.

    Raises:
        OfficialRaisesError: the official checker ends with an exception.
    """
    kind = schema["type"]
    expected = _python_type(kind, language)
    item_kind = schema["items"]["type"] if kind in _WITH_ELEMENTS else None
    inner = _python_type(item_kind, language) if item_kind else None
    if language is Language.PYTHON:
        if kind == "tuple" and type(value) is tuple:
            value = list(value)
        if kind == "float" and type(value) is int:
            value = _as_float(value)
    elif type(value) is not str:
        suffix = "java" if language is Language.JAVA else "js"
        return Fault(
            f"type_error:{suffix}", f"{parameter}: a {language} argument must come as text, not {shown(value)}"
        )
    else:
        converter = convert_java if language is Language.JAVA else convert_javascript
        value = converter.convert(value, kind, item_kind)

    first_type = _first_type(options)
    variable = first_type is not None and first_type is not expected
    error_type = _type_error(value, options, expected, inner, first_type)
    if error_type:
        return Fault(error_type, f"{parameter}: {shown(value)} is no {_kind_in_words(kind, item_kind)}")
    if type(value) is not expected or variable:
        error_type = None if value in options else "value_error:others"
    else:
        error_type = _value_error(value, options, expected, inner)
    return Fault(error_type, f"{parameter}: {shown(value)} is none of {shown(options)}") if error_type else None


def shown(value: Any) -> str:
    """The value as text that fits in a message."""
    return _SHORT.repr(value)


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 120


def _python_type(kind: str, language: Language) -> type:
    try:
        return _TYPES[language][kind]
    except KeyError as error:
        raise OfficialRaisesError(f"the official checker does not handle the {language} type {kind!r}") from error


def _as_float(value: int) -> float:
    try:
        return float(value)
    except OverflowError as error:
        raise OfficialRaisesError(f"the official checker cannot turn this number into a float: {error}") from error


def _kind_in_words(kind: str, item_kind: str | None) -> str:
    return f"{kind} of {item_kind}" if item_kind else kind


def _first_type(options: list[Any]) -> type | None:
    """The type of the first option that is not "", None where there is none."""
    return next((type(option) for option in options if option != ""), None)


def _type_error(
    value: Any, options: list[Any], expected: type[Any], inner: type | None, first_type: type | None
) -> str | None:
    if type(value) is expected:
        # Only lists have an element type.
        if inner is None or any(_elements_fit(value, option, inner) for option in options):
            return None
        return "type_error:nested" if first_type is expected else "type_error:simple"
    return None if type(value) is first_type else "type_error:simple"


def _elements_fit(value: Any, option: Any, inner: type) -> bool:
    if type(option) is not list:
        return True
    allowed = (inner, _first_type(option))
    return all(type(element) in allowed for element in value)


def _value_error(value: Any, options: list[Any], expected: type, inner: type | None) -> str | None:
    if expected is dict:
        return _dict_error(value, options)
    if expected is list:
        return _dict_list_error(value, options) if inner is dict else _list_error(value, options)
    if expected is str:
        accepted = [_standard(option) for option in options if type(option) is str]
        return None if _standard(value) in accepted else "value_error:string"
    return None if value in options else "value_error:others"


def _standard(value: Any) -> Any:
    """A text without the ignored characters, in lower case, with one kind of quote; other values unchanged."""
    if type(value) is not str:
        return value
    return value.translate(_IGNORED).lower().replace("'", '"')


def _standard_elements(values: Any) -> list[Any]:
    # A text counts as the list of its characters, as it does officially; so "" is an empty list.
    if not isinstance(values, list | str):
        raise OfficialRaisesError(f"the official checker raises on the accepted values {shown(values)}")
    return [_standard(value) for value in values]


def _list_error(value: list[Any], options: list[Any]) -> str | None:
    accepted = [_standard_elements(option) for option in options]
    return None if _standard_elements(value) in accepted else "value_error:list/tuple"


def _dict_error(value: Any, options: list[Any]) -> str | None:
    error: str | None = "dict_checker:unclear"
    for option in options:
        if option == "":
            continue
        if not isinstance(value, dict) or not isinstance(option, dict):
            raise OfficialRaisesError(f"the official checker raises on {shown(value)} for {shown(option)}")
        error = _one_dict_error(value, option)
        if error is None:
            return None
    return error


def _one_dict_error(value: dict[Any, Any], option: dict[str, Any]) -> str | None:
    if any(key not in value and "" not in accepted for key, accepted in option.items()):
        # Found last, but reported first: it overwrites what the given keys got.
        return "value_error:dict_key"
    for key, element in value.items():
        if key not in option:
            return "value_error:dict_key"
        if _standard(element) not in _standard_elements(option[key]):
            return "value_error:dict_value"
    return None


def _dict_list_error(value: list[Any], options: list[Any]) -> str | None:
    error: str | None = "list_dict_checker:unclear"
    for option in options:
        if len(value) != len(option):
            error = "value_error:list_dict_count"
            continue
        error = next((e for e in map(_element_error, value, option) if e), None)
        if error is None:
            return None
    return error


def _element_error(element: Any, option: Any) -> str | None:
    return _dict_error(element, [option])
