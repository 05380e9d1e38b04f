"""Names for MLflow: what is built, what is cleaned, what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plaster_ops.domain.metrics import CATALOGUE, Scale
from plaster_ops.tracking.names import (
    MAX_KEY_CHARACTERS,
    RecordRefused,
    check_metrics,
    clean_curve_keys,
    clean_key,
    cut,
    dataset_digest,
    estimate_key,
    interval_keys,
    logged_model_name,
    quoted,
    registered_name,
    sample_count_key,
)


def test_interval_keys_keep_the_unit_last() -> None:
    assert interval_keys("latency/e2e_p50_ms") == ("latency/e2e_p50_ci95lo_ms", "latency/e2e_p50_ci95hi_ms")
    assert interval_keys("energy/inferences_per_j") == (
        "energy/inferences_ci95lo_per_j",
        "energy/inferences_ci95hi_per_j",
    )
    assert interval_keys("odd/name")[0] == "odd/name_ci95lo"


def test_every_declared_metric_can_stand_beside_its_interval_and_count() -> None:
    measured = [key for key, metric in CATALOGUE.items() if metric.scale is not Scale.EXACT]
    keys = [k for key in CATALOGUE for k in (key, *interval_keys(key))] + [sample_count_key(key) for key in measured]
    assert len(set(keys)) == len(keys)
    check_metrics(dict.fromkeys(keys, 1.0))


def test_an_estimate_never_takes_the_place_of_a_measurement() -> None:
    assert estimate_key("energy/cpu_w") == "energy/est_cpu_w"
    assert estimate_key("energy/est_cpu_w") == "energy/est_cpu_w"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), True, None, "1"])
def test_values_that_are_no_finite_numbers_are_refused(value: object) -> None:
    with pytest.raises(RecordRefused, match="size/a_bytes"):
        check_metrics({"size/a_bytes": value})


@pytest.mark.parametrize("key", ["/a", "a/", "a//b", "a/../b", "./a", "a*b", "", "x" * 251])
def test_keys_that_mlflow_would_refuse_are_refused_first(key: str) -> None:
    with pytest.raises(RecordRefused, match="is not a metric key"):
        check_metrics({key: 1.0})


def test_a_key_that_is_a_folder_of_another_is_refused() -> None:
    with pytest.raises(RecordRefused, match="latency is also a folder"):
        check_metrics({"latency": 1.0, "latency/e2e_p50_ms": 2.0, "latency_x": 3.0})


def test_a_users_keys_are_kept_apart() -> None:
    keys = clean_curve_keys(["loss", "loss/train", "loss.value", "val*loss", "val?loss", "épreuve"])
    assert keys["loss"].startswith("loss-")
    assert keys["loss.value"] == "loss.value"
    assert clean_curve_keys(["a", "a/b"]) == {"a": "a.value", "a/b": "a/b"}
    assert keys["loss/train"] == "loss/train"
    assert keys["val*loss"] != keys["val?loss"]
    check_metrics(dict.fromkeys(keys.values(), 1.0))


@given(st.lists(st.text(min_size=0, max_size=300), max_size=8))
def test_whatever_a_user_calls_a_curve_mlflow_takes_it(texts: list[str]) -> None:
    keys = clean_curve_keys(texts)
    assert set(keys) == set(texts)
    check_metrics(dict.fromkeys(keys.values(), 1.0))
    assert len(set(keys.values())) == len(keys)


@given(st.text(max_size=400))
def test_a_cleaned_key_is_short_and_stays_as_it_is(text: str) -> None:
    key = clean_key(text)
    assert 0 < len(key) <= MAX_KEY_CHARACTERS
    assert clean_key(key) == key


def test_registered_names_are_distinct_and_visible() -> None:
    assert registered_name("digits") == "digits"
    assert registered_name("a/b").startswith("a-b-")
    assert len({registered_name(name) for name in ("a/b", "a:b", "a-b")}) == 3
    assert logged_model_name("a/b:c.d-1") == "a-b-c-d-1"


def test_long_texts_say_that_they_were_cut() -> None:
    assert cut("short", 10) == "short"
    assert cut("x" * 9000, 8000).endswith("... (9000 characters)")
    assert len(cut("x" * 9000, 8000)) == 8000


def test_long_digests_are_shortened_to_distinct_ones() -> None:
    assert dataset_digest("abc") == "abc"
    assert len(dataset_digest("a" * 64)) <= 36
    assert dataset_digest("a" * 64) != dataset_digest("b" * 64)


def test_quotes_in_a_filter_are_answered_with_the_other_kind() -> None:
    assert (quoted("a"), quoted("a'b")) == ("'a'", '"a\'b"')
    with pytest.raises(RecordRefused):
        quoted("""a'b"c""")
