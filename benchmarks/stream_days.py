"""Sixty days of a real stream, landing file by file, each followed by `plaster-ops retrain`: warm beside scratch.

`python benchmarks/stream_days.py electricity.csv.gz [--days 60] [--first 330] [--starts warm scratch]` makes one
scratch project a start with `pipelines/electricity.py`, lets the 91 days before `--first` land, then one day at a time,
and retrains after each with the real command (`--no-measure`, eager engine: training and data are what is looked at).
Then it reads every window back from the source and holds it against the files: rows trained on twice in a window, rows
missed, held-out rows that any model had been trained on, counts of the records. Prints Markdown.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from plaster_ops.domain.metrics import DATA_STALENESS_S, ROLLING_SCORE
from plaster_ops.domain.window import Window

ROOT = Path(__file__).parents[1]
FIRST_DAY = datetime(1996, 5, 7, tzinfo=UTC)
ROWS_A_DAY = 48
LOOKBACK_DAYS = 90
SETTINGS = """default = "electricity"
tracking_uri = "sqlite:///mlruns/mlflow.db"
[pipelines.electricity]
ref = "pipelines.electricity:pipeline"
start = "{start}"
data = {{ window = "{lookback}d", replay_ratio = 20 }}
train = {{ devices = 1, max_epochs = 20, warm_epochs = 2, target_score = {target} }}
engine = {{ backends = ["eager"], precisions = ["fp32"] }}
gates = {{ accuracy = {{ max_drop = 0.1 }} }}
{more}
"""


@dataclass
class Series:
    """One project and what its retrains told."""

    start: str
    project: Path
    told: list[dict[str, Any]] = field(default_factory=list)
    cadence: dict[str, Any] = field(default_factory=dict)

    @property
    def env(self) -> dict[str, str]:
        """The environment of its commands."""
        ours = {"PYTHONPATH": str(ROOT), "MLFLOW_DISABLE_TELEMETRY": "true", "PLASTER_PROJECT": str(self.project)}
        return os.environ | ours | {"ELECTRICITY_DATA": str(self.project / "arriving")}

    def command(self, *words: str) -> Any:
        """What a command of plaster-ops prints as JSON."""
        ended = subprocess.run(
            [sys.executable, "-m", "plaster_ops", *words, "--json", "--quiet"],
            cwd=self.project,
            env=self.env,
            capture_output=True,
            text=True,
        )
        if ended.returncode not in (0, 3):
            raise SystemExit(f"{' '.join(words)} ended with {ended.returncode}:\n{ended.stderr[-4000:]}")
        return json.loads(ended.stdout)

    def fit_s(self) -> float:
        """Seconds of training of all retrains, starting the processes apart."""
        return sum(float(each["phases"]["fit_s"]) for each in self.told)


def read_stream(file: Path) -> pd.DataFrame:
    """The stream with a date: half-hours from 7 May 1996 on."""
    rows = pd.read_csv(file)
    rows.insert(0, "time", [FIRST_DAY + timedelta(minutes=30 * row) for row in range(len(rows))])
    return rows.drop(columns="period")


def land(rows: pd.DataFrame, day: int, folder: Path) -> None:
    """Lets one day land, whole."""
    part = rows.iloc[day * ROWS_A_DAY : (day + 1) * ROWS_A_DAY]
    file = folder / f"{FIRST_DAY + timedelta(days=day):%Y-%m-%d}.csv"
    draft = file.with_suffix(".part")
    part.to_csv(draft, index=False)
    stood_still = file.parent.stat().st_mtime - 60
    os.utime(draft, (stood_still, stood_still))
    draft.replace(file)


def make(folder: Path, start: str, rows: pd.DataFrame, first: int, target: str) -> Series:
    """A project in which the days before `first` have landed."""
    project = folder / start
    (project / "arriving").mkdir(parents=True)
    more = "auto = { every = 10 }" if start == "auto" else ""
    text = SETTINGS.format(start=start, lookback=LOOKBACK_DAYS, target=target, more=more)
    if target == "none":
        text = text.replace(", target_score = none", "")
    (project / "plaster.toml").write_text(text, encoding="utf-8")
    for day in range(first - LOOKBACK_DAYS - 1, first):
        land(rows, day, project / "arriving")
    return Series(start=start, project=project)


def one_day(series: Series, rows: pd.DataFrame, first: int, place: int) -> None:
    """The next day lands, and the project is retrained; all projects at the same time, under the same load."""
    if place:
        land(rows, first + place - 1, series.project / "arriving")
    told = series.command("retrain", "--no-measure")
    series.told.append(told)
    (series.project / "told.json").write_text(json.dumps(series.told), encoding="utf-8")
    print(place, series.start, told["verdict"], round(told["phases"]["fit_s"], 2), file=sys.stderr, flush=True)


def check(series: Series) -> list[str]:
    """What does not reconcile between records, windows and files; empty where everything does."""
    os.environ.update(series.env)
    os.chdir(series.project)
    from pipelines.electricity import Electricity

    source = Electricity().source
    faults: list[str] = []
    landed = sum(len(pd.read_csv(file)) for file in sorted((series.project / "arriving").glob("*.csv")))
    seen: Any = None
    learned: Any = None
    trained: set[Any] = set()
    promoted: set[Any] = set()
    first_learned: list[int] = []
    for number, told in enumerate(series.told, start=1):
        data = told["data"]
        window = Window(learned=data["from"], seen=data["seen_before"], cut=data["cut"], end=data["to"])
        fit, held = source.train_rows(window), source.held_out_rows(window)
        times, out = fit["time"].to_pylist(), held["time"].to_pylist()
        if (data["seen_before"], data["from"]) != (seen, learned):
            faults.append(f"#{number}: its window begins at {data['from']}, the champion has learned {learned}")
        if len(set(times)) != len(times) or len(set(out)) != len(out):
            faults.append(f"#{number}: a row is twice in its window")
        if set(out) & (trained | set(times)):
            faults.append(f"#{number}: {len(set(out) & (trained | set(times)))} held-out rows had been trained on")
        if data["absorbed_samples"] != source.count(data["from"], data["cut"]):
            faults.append(f"#{number}: the record says {data['absorbed_samples']} rows learned")
        trained |= set(times)
        seen = data["to"]
        if told["verdict"] in ("promoted", "baseline"):
            learned = data["cut"]
            promoted |= set(times)
            first_learned.append(data["absorbed_samples"])
    if source.count(None, seen) != landed:
        faults.append(f"{landed} rows landed, {source.count(None, seen)} were seen")
    if len(promoted) != source.count(None, learned) or sum(first_learned) != source.count(None, learned):
        faults.append(f"{sum(first_learned)} rows learned first, {len(promoted)} by champions, up to {learned}")
    return faults


def cadence_lines(series: Series) -> dict[str, int]:
    """Points on each line of the cadence run in MLflow."""
    from mlflow import MlflowClient

    uri = f"sqlite:///{series.project}/mlruns/mlflow.db"
    client = MlflowClient(uri, registry_uri=uri)
    experiment = client.get_experiment_by_name("plaster/electricity")
    runs = client.search_runs([experiment.experiment_id], "tags.`plaster.kind` = 'cadence'")
    return {key: len(client.get_metric_history(runs[0].info.run_id, key)) for key in runs[0].data.metrics}


def report(all_series: Sequence[Series], days: int) -> None:
    """Everything, in Markdown."""
    verdicts = ("baseline", "promoted", "held", "skipped")
    print("| start | retrains | verdicts | does not reconcile | training s | of scratch | next-day score | left out |")
    print("|-|-|-|-|-|-|-|-|")
    scratch = next((each.fit_s() for each in all_series if each.start == "scratch"), None)
    for series in all_series:
        count = {word: sum(told["verdict"] == word for told in series.told) for word in verdicts}
        scores = [score for _, score in series.cadence["series"]]
        left = series.cadence["left_out"]
        print(
            f"| {series.start} | {len(series.told)} of {days} |"
            f" {', '.join(f'{number} {word}' for word, number in count.items() if number)} |"
            f" {'; '.join(check(series)) or 'nothing'} | {series.fit_s():.1f} |"
            f" {'' if not scratch else f'{series.fit_s() / scratch:.3f}'} |"
            f" {statistics.fmean(scores):.4f} ({len(scores)}) |"
            f" {'' if left is None else ', '.join('#' + str(each['index']) for each in left) or 'none'} |"
        )
    for series in all_series:
        print(f"\n{series.start}: points on the lines of the cadence run: {cadence_lines(series)}")
        for key in (ROLLING_SCORE.key, DATA_STALENESS_S.key):
            values = [row["value"] for told in series.told for row in told["card"] if row["key"] == key]
            known = [value for value in values if value is not None]
            print(f"{key}: {len(known)} values, median {statistics.median(known):.4g}" if known else f"{key}: none")
        starts = [told.get("start") or {} for told in series.told]
        raced = [f"#{number} {each.get('why')}" for number, each in enumerate(starts, 1) if each.get("raced")]
        if raced:
            print("races: " + "; ".join(raced))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stream", type=Path)
    parser.add_argument("--days", type=int, default=60)
    parser.add_argument("--first", type=int, default=330)
    parser.add_argument("--starts", nargs="+", default=["warm", "scratch"], choices=["warm", "scratch", "auto"])
    parser.add_argument("--target", default="none", help="train.target_score; none: no target is set")
    parser.add_argument("--keep", type=Path, help="where the projects are left")
    asked = parser.parse_args()
    rows = read_stream(asked.stream)
    with tempfile.TemporaryDirectory() as scratch:
        folder = (asked.keep or Path(scratch)).resolve()
        all_series = [make(folder, start, rows, asked.first, asked.target) for start in asked.starts]
        with ThreadPoolExecutor(len(all_series)) as side_by_side:
            for place in range(asked.days):
                list(side_by_side.map(partial(one_day, rows=rows, first=asked.first, place=place), all_series))
        for series in all_series:
            series.cadence = series.command("cadence", "-n", str(asked.days))
        report(all_series, asked.days)


if __name__ == "__main__":
    main()
