"""Views of an experiment's runs that MLflow's pages open by a link: charts over the retrains, and the retrains' table.

MLflow keeps a shared view in the experiment's tag `mlflow.sharedViewState.<key>`: an envelope with its name and its
state, a JSON text that may be deflated. That form is not documented; it was read in and tried with MLflow 3.17. A
MLflow that does not know it shows its usual page.
"""

import base64
import json
import zlib
from collections.abc import Iterator
from typing import Any

from plaster_ops.domain.metrics import CPU_TIME_PER_INFERENCE_S, DATA_STALENESS_S, HEADLINES, ROLLING_SCORE, Metric
from plaster_ops.tracking.addresses import DRIFT_VIEW, RETRAINS_VIEW
from plaster_ops.tracking.markers import ALARM_KEYS, VERDICT_CODE
from plaster_ops.tracking.plans import KIND, RETRAIN

_TAG = "mlflow.sharedViewState."
_CREATED_MS = 1_795_824_000_000
_SECTIONS = {"headlines": "the seven headlines over the retrains", "marks": "verdicts, alarms, age"}


def prepared_views() -> dict[str, str]:
    """The experiment's tags that hold the views; the same text each time."""
    return {
        _TAG + DRIFT_VIEW: _envelope("plaster-ops: drift over retrains", _drift()),
        _TAG + RETRAINS_VIEW: _envelope("plaster-ops: retrains", _retrains()),
    }


def read_view(text: str) -> dict[str, Any]:
    """The state in a tag's text, as MLflow's pages read it."""
    packed = str(json.loads(text)["state"]).removeprefix("deflate;")
    state: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(packed)))
    return state


def _envelope(name: str, state: dict[str, Any]) -> str:
    packed = base64.b64encode(zlib.compress(json.dumps(state, sort_keys=True).encode(), 9)).decode()
    return json.dumps({"name": name, "createdAt": _CREATED_MS, "updatedAt": _CREATED_MS, "state": f"deflate;{packed}"})


def _facets(kind: str) -> dict[str, Any]:
    return {
        "searchFilter": f"tags.`{KIND}` = '{kind}'",
        "orderByKey": "attributes.start_time",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
    }


def _drift() -> dict[str, Any]:
    """Only the cadence runs, their list folded away, a chart for each line."""
    return _facets("cadence") | {
        "runsHiddenMode": "SHOW_ALL",
        "runListHidden": True,
        "hideEmptyCharts": True,
        "isAccordionReordered": True,
        "globalLineChartConfig": {"xAxisKey": "step", "lineSmoothness": 0, "selectedXAxisMetricKey": ""},
        "compareRunSections": [
            {"uuid": uuid, "name": name, "display": True, "isReordered": True, "deleted": False, "isGenerated": False}
            for uuid, name in _SECTIONS.items()
        ],
        "compareRunCharts": list(_charts()),
    }


def _charts() -> Iterator[dict[str, Any]]:
    for metric in (*HEADLINES, CPU_TIME_PER_INFERENCE_S):
        yield _chart([metric.key], f"{metric.letter.value} · {_unit(metric)}", "headlines")
    yield _chart([VERDICT_CODE], "verdict: 2 baseline, 1 promoted, 0 held, -1 failed", "marks")
    alarms = list(ALARM_KEYS.values())
    yield _chart(alarms, "alarms raised, by letter", "marks")
    yield from (_chart([key], key, "marks") | {"deleted": True} for key in alarms[1:])
    for metric in (ROLLING_SCORE, DATA_STALENESS_S):
        yield _chart([metric.key], _unit(metric), "marks")


def _unit(metric: Metric) -> str:
    name = metric.key.partition("/")[2]
    better = {"higher": ", higher is better", "lower": ", lower is better"}.get(metric.better.value, "")
    return f"{name}{better}"


def _chart(keys: list[str], title: str, section: str) -> dict[str, Any]:
    """A line chart over the step. The key that names it also keeps MLflow from adding one of its own."""
    return {
        "type": "LINE",
        "uuid": f"plaster-{keys[0]}",
        "metricSectionId": section,
        "displayName": title,
        "metricKey": keys[0],
        "selectedMetricKeys": keys,
        "deleted": False,
        "isGenerated": False,
        "runsCountToCompare": 10,
        "lineSmoothness": 0,
        "scaleType": "linear",
        "xAxisScaleType": "linear",
        "xAxisKey": "step",
        "selectedXAxisMetricKey": "",
        "yAxisKey": "metric",
        "yAxisExpressions": [],
        "range": {},
        "displayPoints": True,
        "ignoreOutliers": False,
        "useGlobalXaxisKey": True,
        "useGlobalLineSmoothing": True,
    }


def _retrains() -> dict[str, Any]:
    """Only the parents, newest first, with verdict, headlines and reasons as columns."""
    columns = [f"metrics.`{metric.key}`" for metric in HEADLINES]
    chosen = ["tags.`plaster.verdict`", *columns, "tags.`plaster.reason`"]
    return _facets(RETRAIN) | {"selectedColumns": chosen, "runsHiddenMode": "SHOW_ALL"}
