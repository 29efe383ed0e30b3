"""Every value type and every key type, through every online store and both versions of the entity keys: Terrarium reads what
Feast wrote, and the Feast SDK reads what Terrarium wrote, from the same Parquet files and from the same pushed rows.

Expected is always what Feast itself answers here and now.
"""

import pytest
from answers import differences, http_answer, sdk_answer
from repository import API_VIEWS, CASES_BY_VIEW, FILE_VIEWS, KEYS_BY_VIEW, PAIRS

ABSENT = 404  # an item that is nowhere
PUSHABLE = [view for view, case in CASES_BY_VIEW.items() if case.pushed]
PUSHABLE_KEYS = [view for view, (*_, pushed) in KEYS_BY_VIEW.items() if pushed]


def question(view):
    """(features, entities in Python, entities in JSON) that ask for everything in a view."""
    if view in CASES_BY_VIEW:
        keys = {"item_id": [*range(1, len(CASES_BY_VIEW[view].values) + 2), ABSENT]}
        return [f"{view}:value"], keys, keys
    if view in KEYS_BY_VIEW:
        key, _, keys, sent, _ = KEYS_BY_VIEW[view]
        return [f"{view}:n"], {key: keys}, {key: sent} if sent else None
    drivers = {"driver_id": [1, 2, 5, 8, ABSENT]}
    pairs = {"driver_id": [d for d, _ in PAIRS] + [ABSENT], "rider_code": [r for _, r in PAIRS] + ["a"]}
    features = {"stats": ["rate", "trips", "city"], "pair": ["together", "rate"], "market": ["surge", "mode"], "mapped": ["revenue"]}
    keys = pairs if view == "pair" else drivers
    return [f"{view}:{feature}" for feature in features[view]], keys, keys


def unordered(view):
    return {"value"} if view in CASES_BY_VIEW and "set" in view else set()


@pytest.mark.parametrize("view", [*FILE_VIEWS, *API_VIEWS])
def test_terrarium_reads_what_feast_wrote(pair, view):
    features, keys, sent = question(view)
    if sent is None:
        pytest.skip("keys of bytes cannot be sent as JSON, to Feast neither")
    expected = sdk_answer(pair.by_feast.feast(), features, keys)
    server = pair.terrarium(pair.by_feast)
    found = differences(http_answer(server, {"features": features, "entities": sent}), expected, unordered(view))
    assert not found, "\n".join(found)


@pytest.mark.parametrize("view", FILE_VIEWS)
def test_feast_reads_what_terrarium_wrote(pair, view):
    assert view not in pair.failures, pair.failures[view]
    features, keys, _ = question(view)
    expected = sdk_answer(pair.by_feast.feast(), features, keys)
    found = differences(sdk_answer(pair.by_terrarium.feast(), features, keys), expected, unordered(view))
    assert not found, "\n".join(found)


@pytest.mark.parametrize("route", ["/push", "/write-to-online-store"])
@pytest.mark.parametrize("view", [*PUSHABLE, *PUSHABLE_KEYS])
def test_feast_reads_what_was_pushed(store_pair, view, route):
    """One body, sent to `feast serve` and to Terrarium, each with a store of its own."""
    features, keys, rows = rows_to_push(view, route)
    target = {"push_source_name": f"{view}_push"} if route == "/push" else {"feature_view_name": view}
    by_feast, by_terrarium = store_pair.by_feast, store_pair.by_terrarium
    feast, terrarium = store_pair.feast(by_feast), store_pair.terrarium(by_terrarium)
    wanted = feast.post(route, target | {"df": rows})
    if wanted.status_code != 200:
        pytest.skip(f"Feast refuses it: {wanted.text}")
    got = terrarium.post(route, target | {"df": rows})
    assert (got.status_code, got.text) == (wanted.status_code, wanted.text), f"{got.status_code} {got.text}\n{terrarium.log_tail()}"
    expected = sdk_answer(by_feast.feast(), features, keys)
    found = differences(sdk_answer(by_terrarium.feast(), features, keys), expected, unordered(view))
    assert not found, "\n".join(found)


def rows_to_push(view, route):
    """(features, entities, df). The two routes write to different entities, or at different times."""
    later = route != "/push"
    if view in KEYS_BY_VIEW:
        key, *_, pushed = KEYS_BY_VIEW[view]
        columns = {key: pushed, "n": list(range(100 + later, 100 + later + len(pushed)))}
        features = [f"{view}:n"]
    else:
        key, values = "item_id", CASES_BY_VIEW[view].pushed
        columns = {key: [1000 * (1 + later) + i for i in range(len(values))], "value": values}
        features = [f"{view}:value"]
    times = [f"2024-03-0{4 + later}T12:00:{i:02}.250" for i in range(len(columns[key]))]
    return features, {key: columns[key]}, columns | {"event_timestamp": times, "created": times}
