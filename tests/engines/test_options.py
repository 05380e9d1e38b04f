"""Options reach the backend that takes them, in the type that it takes; anything else is an error that helps."""

from dataclasses import replace
from typing import Any

import pytest

from plaster_ops.engines.options import Schema, check_options, read_options
from plaster_ops.errors import SettingsError
from tests.engines.conftest import export_model

SPEC = export_model("mlp").spec("mine")
SCHEMA: Schema = {"hint": ("latency", "throughput"), "pinning": False, "streams": 2, "ratio": 0.5, "name": "x"}
DEFAULTS = {"hint": "latency", "pinning": False, "streams": 2, "ratio": 0.5, "name": "x"}


def read(schema: Schema = SCHEMA, **options: Any) -> dict[str, Any]:
    return read_options(replace(SPEC, options=tuple(options.items())), schema)


def refused(work: Any, *given: Any, **options: Any) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        work(*given, **options)
    assert caught.value.next_step
    return caught.value


def test_what_is_not_given_is_as_the_backend_has_it_and_of_words_the_first() -> None:
    assert read() == DEFAULTS


@pytest.mark.parametrize(
    ("name", "value"), [("hint", "throughput"), ("pinning", True), ("streams", 3), ("ratio", 0.25), ("name", "")]
)
def test_what_is_given_takes_the_place_of_its_default_and_of_no_other(name: str, value: object) -> None:
    assert read(**{name: value}) == DEFAULTS | {name: value}


def test_a_whole_number_is_a_number_with_a_point_where_one_is_wanted() -> None:
    ratio = read(ratio=1)["ratio"]
    assert (ratio, type(ratio)) == (1.0, float)


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("pinning", 1, "bool"),
        ("pinning", "true", "bool"),
        ("streams", True, "int"),
        ("streams", 2.0, "int"),
        ("streams", "2", "int"),
        ("ratio", True, "float"),
        ("ratio", "0.5", "float"),
        ("name", 3, "str"),
    ],
)
def test_a_value_of_another_type_is_refused_with_the_type_that_is_wanted(name: str, value: object, wanted: str) -> None:
    error = refused(read, **{name: value})
    assert error.message == f"engine option {name} = {value!r} is of type {type(value).__name__}"
    assert error.next_step == f"give a {wanted}, as in {DEFAULTS[name]!r}"


@pytest.mark.parametrize("value", ["speed", "LATENCY", "", True, 0])
def test_a_word_that_is_not_among_the_choices_is_refused_with_all_that_are(value: object) -> None:
    error = refused(read, hint=value)
    assert error.message == f"engine option hint = {value!r} is not known"
    assert error.next_step == "it is one of latency, throughput"


@pytest.mark.parametrize(("key", "near"), [("pining", "pinning"), ("Hint", "hint"), ("mine.stream", "streams")])
def test_an_unknown_option_names_the_nearest_and_all_others(key: str, near: str) -> None:
    error = refused(read, **{key: 1})
    assert error.message == f"engine option {key!r} is unknown to backend 'mine'"
    assert f"it takes hint, name, pinning, ratio, streams; nearest is {near!r}" in error.next_step
    assert f"mine.{near}" in error.next_step


def test_a_backend_without_options_says_so() -> None:
    assert refused(read, {}, pinning=True).next_step == "it takes no options"


def test_an_option_may_be_addressed_and_one_for_another_backend_is_passed_over() -> None:
    assert read(**{"mine.streams": 4})["streams"] == 4
    assert read(**{"other.streams": 4, "other.nonsense": "x"}) == DEFAULTS
    assert "mine.streams = 'x'" in refused(read, **{"mine.streams": "x"}).message


def test_a_plugins_reference_with_dots_is_an_address_too() -> None:
    spec = replace(SPEC, backend="my.engines:Backend", options=(("my.engines:Backend.streams", 4),))
    assert read_options(spec, SCHEMA)["streams"] == 4


# ---- before anything is built ---------------------------------------------------------------------------------------
SCHEMAS: dict[str, Schema | None] = {"mine": SCHEMA, "plain": {"streams": 1}, "plugin:Own": None}


@pytest.mark.parametrize(
    "options", [{}, {"streams": 3}, {"mine.hint": "throughput"}, {"plugin:Own.anything": 1, "plain.streams": 2}]
)
def test_options_that_every_backend_takes_are_let_through(options: dict[str, Any]) -> None:
    check_options(options, SCHEMAS)


def test_a_bare_name_must_be_known_to_every_backend_it_would_reach() -> None:
    error = refused(check_options, {"hint": "latency"}, SCHEMAS)
    assert error.message == "engine option 'hint' is unknown to backend 'plain'"


def test_an_addressed_option_is_checked_by_that_backend_alone() -> None:
    assert "'plain.hint' is unknown to backend 'plain'" in refused(check_options, {"plain.hint": "x"}, SCHEMAS).message
    assert "mine.hint = 'speed' is not known" in refused(check_options, {"mine.hint": "speed"}, SCHEMAS).message
    assert "streams = '3' is of type str" in refused(check_options, {"streams": "3"}, SCHEMAS).message


def test_an_option_for_a_backend_that_is_not_asked_for_names_the_nearest_that_is() -> None:
    error = refused(check_options, {"plan.streams": 1}, SCHEMAS)
    assert error.message == "engine option 'plan.streams' is for backend 'plan', which is not among engine.backends"
    assert error.next_step == "they are mine, plain, plugin:Own; nearest is 'plain'"
