"""Splits the Autobahn cases over several runs of the suite, and judges what the runs reported.

`tools/autobahn.sh` calls this twice:

    plan DIR SET URL    reads the identifiers of all cases on standard input; writes
                        DIR/1/spec.json and so on, one for each process, and DIR/expected.json;
                        prints the number of cases
    judge DIR           reads DIR/*/reports/index.json; lists each case that did not pass and each
                        that is missing; exit code 1 if there is one

The suite exits with 0 whatever happened and leaves a case out when it cannot connect, so a case
passes only if a report of this very run says so.
"""

import json
import sys
from pathlib import Path

PROCESSES = 3
EXPECTED_CASES = {"all": 517, "ci": 373, "fast": 301}
AGENT = "testee"
PASSED = {"OK", "INFORMATIONAL"}

# Where the time goes, in seconds against a quick server, so that all processes end at about the
# same time. Families 12 and 13 have the same 18 sizes in each group, and some groups' payloads are
# harder to compress. What is not named takes next to no time.
SECONDS_DEFAULT = 0.01
SECONDS_OF_PREFIX = {"5.19": 1.0, "5.20": 1.0, "6.4": 2.0, "9": 0.2}
SECONDS_OF_SIZE = [1.0, 1.1, 1.0, 1.1, 1.3, 1.6, 2.5, 3.8, 5.5,
                   9.2, 2.1, 2.6, 4.2, 7.1, 11.0, 9.8, 9.7, 8.1]
FACTOR_OF_GROUP = {"12.1": 0.6, "12.2": 1.6, "12.3": 1.7, "12.4": 1.1, "12.5": 1.6}
FACTOR_DEFAULT = 0.8


def wanted(case, case_set):
    """Families 12 and 13 are compression: groups of 18, first the small messages."""
    family, *_, size = (int(part) for part in case.split("."))
    if family <= 10:
        return True
    return case_set == "all" or (case_set == "ci" and size <= 6)


def seconds(case):
    group, _, last = case.rpartition(".")
    if int(case.split(".")[0]) >= 12:
        return FACTOR_OF_GROUP.get(group, FACTOR_DEFAULT) * SECONDS_OF_SIZE[int(last) - 1]
    for prefix, each in SECONDS_OF_PREFIX.items():
        if f"{case}.".startswith(f"{prefix}."):
            return each
    return SECONDS_DEFAULT


def split(cases):
    """Longest first, each to the process with the least to do."""
    shares = [[] for _ in range(PROCESSES)]
    for case in sorted(cases, key=seconds, reverse=True):
        min(shares, key=lambda share: sum(map(seconds, share))).append(case)
    return shares


def plan(folder, case_set, url):
    cases = [case for case in sys.stdin.read().split() if wanted(case, case_set)]
    if len(cases) != EXPECTED_CASES[case_set]:
        sys.exit(f"autobahn: the suite has {len(cases)} cases in the set '{case_set}', "
                 f"expected {EXPECTED_CASES[case_set]}: another version of it?")
    for number, share in enumerate(split(cases), start=1):
        run = folder / str(number)
        run.mkdir()
        spec = {
            "outdir": str(run / "reports"),
            "servers": [{"agent": AGENT, "url": url}],
            "cases": share,
            "exclude-cases": [],
            "exclude-agent-cases": {},
        }
        (run / "spec.json").write_text(json.dumps(spec, indent=1))
    (folder / "expected.json").write_text(json.dumps(cases))
    print(len(cases))


def judge(folder):
    results = {}
    for index in sorted(folder.glob("*/reports/index.json")):
        results.update(json.loads(index.read_text()).get(AGENT, {}))

    counts = {"OK": 0, "INFORMATIONAL": 0, "others": 0}
    expected = json.loads((folder / "expected.json").read_text())
    for case in expected:
        result = results.get(case)
        if result is None:
            counts["others"] += 1
            print(f"autobahn: {case}: no result")
            continue
        outcome = {result["behavior"], result["behaviorClose"]}
        if outcome <= PASSED:
            counts["OK" if outcome == {"OK"} else "INFORMATIONAL"] += 1
        else:
            counts["others"] += 1
            print(f"autobahn: {case}: behavior {result['behavior']}, "
                  f"behaviorClose {result['behaviorClose']}")
    print(f"autobahn: {len(expected)} cases: {counts['OK']} OK, "
          f"{counts['INFORMATIONAL']} INFORMATIONAL, {counts['others']} others")
    return 1 if counts["others"] else 0


if __name__ == "__main__":
    command, folder, *rest = sys.argv[1:]
    if command == "plan":
        plan(Path(folder), *rest)
    else:
        sys.exit(judge(Path(folder)))
