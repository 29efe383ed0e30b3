#!/usr/bin/env python3
"""Terrarium with its audit trail (`written`, into files) and without it, in turns. Run by dev/bench, in the repository root.

    dev/audit_cost.py TERRARIUM REDIS      the binary; host:port of a Redis with the demo features
"""

import json
import os
import sys
import tempfile
from pathlib import Path
from statistics import median

import bench as common
import server

CONNECTIONS = [1, 8, 64]
TRAILS = {"without": {"TERRARIUM__AUDIT__ENABLED": "false"}, "with": {}}
PATH = common.PATHS["terrarium"]


def main(terrarium, redis):
    bodies = [{"entities": {"driver_id": [driver]}, "inputs": {"trip_km": [3.2]}} for driver in common.demo_drivers(redis)]
    common.print_machine(f"predictions with audit and without, {common.ROUNDS} rounds of {common.ROUND_SECONDS} s for each")
    with tempfile.NamedTemporaryFile("w", prefix="terrarium-bodies-") as file:
        file.write("".join(json.dumps(body) + "\n" for body in bodies))
        file.flush()
        os.environ["BODIES"] = file.name
        rounds = {n: measure(n, terrarium) for n in CONNECTIONS}
    print(f"\n{'connections':>11}  {'audit':<10} {'p50 us':>8} {'p99 us':>8} {'requests/s':>11}")
    for n_connections, results in rounds.items():
        for name in TRAILS:
            p50, p99, rps = (median(round_[name][key] for round_ in results) for key in ("p50", "p99", "rps"))
            print(f"{n_connections:>11}  {name:<10} {p50:>8.0f} {p99:>8.0f} {rps:>11.0f}")
    print()
    more = median(round_["with"]["p50"] - round_["without"]["p50"] for round_ in rounds[1])
    common.print_bar("audit_p50_1conn_more_us", more, "<=", 10)
    common.print_bar("audit_rps_64conn", median(round_["with"]["rps"] / round_["without"]["rps"] for round_ in rounds[64]), ">=", 0.90)


def measure(n_connections, terrarium):
    print(f"{n_connections} connections", end="", flush=True)
    # Beside the checkout and not in /tmp, which may be memory: the audit trail is to be written to a disk.
    with tempfile.TemporaryDirectory(prefix="bench-", dir=".terrarium") as work:
        directories = {name: Path(work, name) for name in TRAILS}
        with server.terrarium(terrarium, directories["without"], TRAILS["without"]) as without, \
                server.terrarium(terrarium, directories["with"], TRAILS["with"]) as audited:  # fmt: skip
            servers = {"without": without, "with": audited}
            rounds = []
            for process in servers.values():
                common.drive(process, PATH, n_connections, 2)
            for number in range(common.ROUNDS):
                order = list(servers) if number % 2 == 0 else list(servers)[::-1]
                rounds.append({name: common.drive(servers[name], PATH, n_connections, common.ROUND_SECONDS) for name in order})
                print(" .", end="", flush=True)
            print()
            audited.stop()
        common.check_audit(directories["with"], sum(round_["with"]["answers"] for round_ in rounds))
        # The HTTP trail and a file's name may be there; an event may not.
        if any(path.stat().st_size for path in directories["without"].rglob("*.jsonl")):
            sys.exit("error: the server without audit left events")
    return rounds


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: dev/audit_cost.py TERRARIUM REDIS")
    try:
        main(*sys.argv[1:])
    except server.Failed as failure:
        sys.exit(f"error: {failure}")
