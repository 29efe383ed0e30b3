#!/usr/bin/env python3
"""Starts `terrarium serve` on the demo, makes the calls of tests/fixtures/demo/smoke.json, and compares every number with
what Feast and MLflow answered. Run by `make smoke`, in the repository root, after the features were materialized.

    dev/smoke.py BINARY
"""

import json
import sys
import tempfile
from pathlib import Path

import server

CALLS = Path("tests/fixtures/demo/smoke.json")
# Class probabilities may differ in the last bits between builds of ONNX Runtime; nothing else may.
TOLERANCE = {"probabilities": 1e-6}


def main(binary):
    calls = json.loads(CALLS.read_text())
    checks = Checks()
    with tempfile.TemporaryDirectory(prefix="terrarium-smoke-") as audit:
        try:
            with server.terrarium(binary, audit) as terrarium:
                for call in calls:
                    checks.record(f"{call['method']} {call['path']}", check_call(terrarium, call))
                code = terrarium.stop()
            checks.record("SIGTERM stops the server with exit code 0", [] if code == 0 else [f"exit code {code}"])
            checks.record("one audit line for each call", check_audit(Path(audit), len(calls)))
        except server.Failed as failure:
            checks.record("the server starts and stops", [str(failure)])
        else:
            if checks.failed:
                print(terrarium.log_tail())
    print(f"{checks.passed} passed, {checks.failed} failed")
    return 1 if checks.failed else 0


class Checks:
    def __init__(self):
        self.passed = self.failed = 0

    def record(self, name, differences):
        if differences:
            self.failed += 1
        else:
            self.passed += 1
        print(f"{'FAIL' if differences else 'ok  '}  {name}")
        for difference in differences:
            print("      " + difference.replace("\n", "\n      "))


def check_call(terrarium, call):
    try:
        status, answer = terrarium.call(call["method"], call["path"], call["body"])
    except OSError as error:
        return [f"no answer: {error}"]
    if status != 200 or not isinstance(answer, dict):
        return [f"answered {status} {answer if isinstance(answer, str) else json.dumps(answer)}"]
    outputs, wanted = answer.get("outputs"), call["outputs"]
    if not isinstance(outputs, dict) or list(outputs) != list(wanted):
        return [f"outputs are {outputs}, not {wanted}"]
    return [
        difference
        for name, values in wanted.items()
        for difference in compare(f"outputs.{name}", outputs[name], values, TOLERANCE.get(name, 0))
    ]


def compare(place, got, wanted, tolerance):
    """What differs, one line a value. Kinds must agree too: `1` is not `true`, and a list is as long as the other."""
    if isinstance(wanted, dict) and isinstance(got, dict) and got.keys() == wanted.keys():
        pairs = [(f"{place}.{key}", got[key], wanted[key]) for key in wanted]
    elif isinstance(wanted, list) and isinstance(got, list) and len(got) == len(wanted):
        pairs = [(f"{place}[{i}]", g, w) for i, (g, w) in enumerate(zip(got, wanted))]
    else:
        return [] if same(got, wanted, tolerance) else [f"{place} is {got!r}, not {wanted!r}{distance(got, wanted)}"]
    return [difference for pair in pairs for difference in compare(*pair, tolerance)]


def same(got, wanted, tolerance):
    if is_number(got) and is_number(wanted):
        return abs(got - wanted) <= tolerance if isinstance(wanted, float) else got == wanted
    return type(got) is type(wanted) and got == wanted


def distance(got, wanted):
    return f" (off by {got - wanted:.3g})" if is_number(got) and is_number(wanted) else ""


def is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def check_audit(directory, n_calls):
    lines = [line for file in sorted(directory.rglob("*.jsonl")) for line in file.read_text().splitlines()]
    differences = [] if len(lines) == n_calls else [f"{len(lines)} lines for {n_calls} calls: {lines}"]
    for number, line in enumerate(lines, 1):
        try:
            json.loads(line)
        except ValueError as error:
            differences.append(f"line {number} is not JSON ({error}): {line}")
    return differences


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: dev/smoke.py BINARY")
    sys.exit(main(sys.argv[1]))
