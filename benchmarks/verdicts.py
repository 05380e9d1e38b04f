"""How often is a verdict wrong, and how often is a change seen? Simulated by the thousand, and for real by the score.

`python benchmarks/verdicts.py [--cases 2000] [--seed 20281] [--noise 1] [--slow 0.08]` simulates comparisons whose
truth is known, from the latency of a single query up, through the code that judges a retrain; about two minutes.
`--noise 3`: everything random about latencies is three times as wide.

`python benchmarks/verdicts.py --real [--rounds 20] [--slow 0.15]` measures real engines: `verdicts_real.py`; about 25
minutes on an idle machine.
"""

import argparse


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=20281)
    parser.add_argument("--real", action="store_true")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--noise", type=float, default=1.0)
    parser.add_argument("--slow", type=float, help="default: 0.08 simulated, 0.15 for real")
    parser.add_argument("--only", help="one round: 'A/A', 'slowed' or 'A/A under load'")
    wanted = parser.parse_args()
    if wanted.real:
        import verdicts_real

        verdicts_real.run(wanted.rounds, wanted.slow or 0.15, wanted.only)
    else:
        import verdicts_simulated

        verdicts_simulated.run(wanted.cases, wanted.seed, wanted.noise, wanted.slow or 0.08)


if __name__ == "__main__":
    main()
