"""Other detectors, asked online; a script of its own, run by a Python that has apache-otava and ruptures.

A line of JSON in, `{"detector", "series", "logs"}` (series as measured, logs as ratios are compared); a line out:
`{"told": [[place, newest], ...], "ms"}`, each change when it is first told: not within five places of one told before.
With `"once": true` the whole series is analysed once, for its milliseconds.
"""

import json
import math
import sys
import time

import numpy as np
import ruptures
from otava.analysis import compute_change_points

NEAR, FEWEST_AFTER = 5, 3


def otava(p_value, after):
    def places(series, _):
        found = compute_change_points(list(series), max_pvalue=p_value)[0]
        return [point.index for point in found if len(series) - point.index >= after]

    return places


def pelt(times_log_n):
    """PELT with squared loss (its exact optimum), in robust standard deviations of neighbours' differences."""

    def places(_, logs):
        if len(logs) < 8:
            return []
        values = np.asarray(logs)
        steps = np.diff(values)
        sigma = 1.4826 * np.median(np.abs(steps - np.median(steps))) / math.sqrt(2) or 1e-12
        fitted = ruptures.KernelCPD(kernel="linear", min_size=3).fit(((values - values[0]) / sigma).reshape(-1, 1))
        return fitted.predict(pen=times_log_n * math.log(len(values)))[:-1]

    return places


def robust_z(threshold, window):
    """The newest value alone, in robust standard deviations of the window before it."""

    def places(_, logs):
        before = np.asarray(logs[-window - 1 : -1])
        if len(before) < 8:
            return []
        middle = np.median(before)
        sigma = 1.4826 * np.median(np.abs(before - middle))
        off = abs(logs[-1] - middle)
        return [len(logs) - 1] if off > threshold * sigma and off > 1e-12 else []

    return places


DETECTORS = {
    "otava p=.001 (default)": otava(0.001, 1),
    "otava p=1e-4": otava(1e-4, 1),
    "otava p=1e-4, 3 after": otava(1e-4, FEWEST_AFTER),
    "PELT l2, 3 log n": pelt(3),
    "PELT l2, 6 log n": pelt(6),
    "robust z > 3.5, 20 runs": robust_z(3.5, 20),
}


def online(places, series, logs):
    told = []
    for newest in range(1, len(series)):
        for place in places(series[: newest + 1], logs[: newest + 1]):
            if all(abs(place - other) > NEAR for other, _ in told):
                told.append((int(place), newest))
    return told


def main():
    for line in sys.stdin:
        asked = json.loads(line)
        places, began_s = DETECTORS[asked["detector"]], time.process_time()
        if asked.get("once"):
            places(asked["series"], asked["logs"])
            told = []
        else:
            told = online(places, asked["series"], asked["logs"])
        print(json.dumps({"told": told, "ms": 1000 * (time.process_time() - began_s)}), flush=True)


if __name__ == "__main__":
    main()
