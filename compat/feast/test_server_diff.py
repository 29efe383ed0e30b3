"""The same requests to the real `feast serve` and to Terrarium, on the same online store: equal status, equal body.

Requests are made from a seed; a failing one is printed with its seed, and `DIFF_SEED=<seed>` makes it alone again.
Free are the order of columns within a view (random in Feast), and the text of errors that are not Feast's own.
"""

import json
import os
import random

import pytest
from answers import differences

N_SEEDS = int(os.environ.get("DIFF_SEEDS", 300))
SEEDS = [int(os.environ["DIFF_SEED"])] if "DIFF_SEED" in os.environ else list(range(N_SEEDS))
PER_TEST = 50

FEATURES = {
    "stats": ["rate", "trips", "city"],
    "pair": ["together", "rate"],
    "market": ["surge", "mode"],
    "mapped": ["revenue"],
    "unwritten": ["never"],
    "of_string_list": ["value"],
    "of_double": ["value"],
    "of_unix_timestamp": ["value"],
    "of_map": ["value"],
    "by_string": ["n"],
    "by_int32": ["n"],
    "by_unix_timestamp": ["n"],
}
JOIN_KEYS = {
    "stats": ["driver_id"],
    "pair": ["driver_id", "rider_code"],
    "market": [],
    "mapped": ["driver_id"],
    "unwritten": ["driver_id"],
    "of_string_list": ["item_id"],
    "of_double": ["item_id"],
    "of_unix_timestamp": ["item_id"],
    "of_map": ["item_id"],
    "by_string": ["string_key"],
    "by_int32": ["int32_key"],
    "by_unix_timestamp": ["unix_timestamp_key"],
}
SERVICES = {"plain": ["driver_id", "rider_code"], "aliased": ["pickup_driver", "dropoff_driver"]}
KEYS = {
    "driver_id": [1, 2, 3, 4, 5, 6, 7, 8, 99, 12345],
    "pickup_driver": [1, 2, 3, 99],
    "dropoff_driver": [4, 5, 6, 99],
    "rider_code": ["a", "b", "zz", ""],
    "item_id": [1, 2, 3, 4, 5, 6, 12, 99],
    "string_key": ["abc", "", "日本", "nobody"],
    "int32_key": [1, -1, 2**31 - 1, 7],
    "unix_timestamp_key": [1709251200, 0, 5],
}


class Generator:
    """One request from one seed."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def request(self):
        body = self.good_request()
        if self.chance(0.3):
            for _ in range(self.random.choice([1, 1, 2])):
                self.random.choice(MISTAKES)(self, body)
        return body

    def good_request(self):
        if self.chance(0.2):
            service = self.random.choice(list(SERVICES))
            body, keys = {"feature_service": service}, SERVICES[service]
        else:
            views = self.random.sample(list(FEATURES), self.random.choice([1, 1, 2, 3]))
            body = {"features": self.features(views)}
            keys = list(dict.fromkeys(key for view in views for key in JOIN_KEYS[view]))
        self.random.shuffle(keys)
        n_rows = self.random.choice([1, 1, 2, 3, 8, 40])
        # A view without entities still needs a row.
        body["entities"] = {key: self.keys(key, n_rows) for key in keys or ["driver_id"]}
        if self.chance(0.4):
            body["full_feature_names"] = self.chance(0.7)
        if self.chance(0.2):
            body["include_feature_view_version_metadata"] = self.chance(0.8)
        return body

    def features(self, views):
        """A choice from each view; the views may be mixed."""
        chosen = [f"{view}:{name}" for view in views for name in self.some(FEATURES[view])]
        if self.chance(0.3):
            self.random.shuffle(chosen)
        return chosen

    def keys(self, key, n_rows):
        """Duplicates and unknown ones among them; sometimes as text or as another kind of number."""
        values = [self.random.choice(KEYS[key]) for _ in range(n_rows)]
        if self.chance(0.1) and key != "unix_timestamp_key" and isinstance(values[0], int):
            return [self.random.choice([value, str(value), float(value)]) if self.chance(0.5) else value for value in values]
        return values

    def some(self, names):
        return self.random.sample(names, self.random.randint(1, len(names)))

    def chance(self, probability):
        return self.random.random() < probability

    def key(self, body):
        return self.random.choice(list(body["entities"])) if isinstance(body.get("entities"), dict) and body["entities"] else None

    def set_keys(self, body, change):
        key = self.key(body)
        if key is not None and isinstance(body["entities"][key], list):
            body["entities"][key] = change(body["entities"][key])

    def set_features(self, body, change):
        if isinstance(body.get("features"), list):
            body["features"] = change(body["features"])


MISTAKES = [
    lambda g, body: g.set_features(body, lambda f: [*f, "stats:nope"]),
    lambda g, body: g.set_features(body, lambda f: [*f, "nowhere:rate"]),
    lambda g, body: g.set_features(body, lambda f: [*f, f[0]] if f else f),
    lambda g, body: g.set_features(body, lambda f: ["no_colon"]),
    lambda g, body: g.set_features(body, lambda f: []),
    lambda g, body: g.set_features(body, lambda f: "stats:rate"),
    lambda g, body: g.set_features(body, lambda f: [1, *f]),
    lambda g, body: g.set_features(body, lambda f: [*f, "pair:rate", "stats:rate"]),
    lambda g, body: body.update(feature_service="no_such_service"),
    lambda g, body: body.update(feature_service=7),
    lambda g, body: body.update(full_feature_names="maybe"),
    lambda g, body: body.update(full_feature_names="true"),
    lambda g, body: body.update(something_else={"ignored": True}),
    lambda g, body: body.update(entities={}),
    lambda g, body: body.update(entities=[1, 2]),
    lambda g, body: body.pop("entities", None),
    lambda g, body: body.pop("features", None),
    lambda g, body: g.key(body) and body["entities"].pop(g.key(body)),
    lambda g, body: g.set_keys(body, lambda values: []),
    lambda g, body: g.set_keys(body, lambda values: values[0] if values else values),
    lambda g, body: g.set_keys(body, lambda values: [*values, *values[:1]]),
    lambda g, body: g.set_keys(body, lambda values: [*values[:-1], None]),
    lambda g, body: g.set_keys(body, lambda values: [*values[:-1], "abc"]),
    lambda g, body: g.set_keys(body, lambda values: [*values[:-1], {"a": 1}]),
    lambda g, body: isinstance(body.get("entities"), dict) and body["entities"].update(unheard_of=[1]),
    lambda g, body: isinstance(body.get("entities"), dict) and body["entities"].update(driver=[1]),
]


@pytest.mark.parametrize("first", SEEDS[::PER_TEST])
def test_answers_are_equal(store_pair, first):
    feast = store_pair.feast(store_pair.by_feast)
    terrarium = store_pair.terrarium(store_pair.by_feast)
    failures = []
    for seed in SEEDS[SEEDS.index(first) :][:PER_TEST]:
        body = Generator(seed).request()
        found = compare(feast, terrarium, body)
        if found:
            failures.append(f"DIFF_SEED={seed}\n{json.dumps(body, ensure_ascii=False)}\n" + "\n".join(found))
    assert not failures, f"{len(failures)} requests differ\n\n" + "\n\n".join(failures[:5])


BODIES = [b"", b"{}", b"[]", b"null", b"{", b'"text"', b'{"entities": 1}', b"\xff\xfe", b'{"entities": {"driver_id": [1]}}', b'{"features": ["stats:rate"]}']


@pytest.mark.parametrize("route", ["/get-online-features", "/push", "/write-to-online-store", "/materialize", "/materialize-incremental"])
@pytest.mark.parametrize("data", BODIES, ids=lambda body: body.decode(errors="replace") or "empty")
def test_bodies_that_are_no_request_get_the_same_refusal(store_pair, route, data):
    """Whatever FastAPI says of them, in its own form."""
    wanted = store_pair.feast(store_pair.by_feast).post(route, data=data)
    got = store_pair.terrarium(store_pair.by_feast).post(route, data=data)
    assert got.status_code == wanted.status_code, f"{got.text} instead of {wanted.text}"
    assert shape(got) == shape(wanted), f"{got.text} instead of {wanted.text}"


@pytest.mark.parametrize(("method", "path"), [("GET", "/get-online-features"), ("PUT", "/push"), ("GET", "/nowhere"), ("GET", "/health")])
def test_routes_are_the_same(store_pair, method, path):
    answers = []
    for server in (store_pair.feast(store_pair.by_feast), store_pair.terrarium(store_pair.by_feast)):
        answer = server.session.request(method, f"http://{server.address}{path}", timeout=30)
        answers.append((answer.status_code, answer.text))
    assert answers[0] == answers[1]


def compare(feast, terrarium, body):
    wanted, got = feast.post("/get-online-features", body), terrarium.post("/get-online-features", body)
    if got.status_code != wanted.status_code:
        return [f"status {got.status_code} {got.text[:500]}\ninstead of {wanted.status_code} {wanted.text[:500]}"]
    if wanted.status_code != 200:
        equal = shape(got) == shape(wanted)
        return [] if equal else [f"{got.status_code} {got.text[:500]}\ninstead of {wanted.text[:500]}"]
    got, wanted = got.json(), wanted.json()
    found = differences(got, wanted)
    if list(got) != list(wanted) or list(got["metadata"]) != list(wanted["metadata"]):
        found.append(f"keys {list(got)} {list(got['metadata'])} instead of {list(wanted)} {list(wanted['metadata'])}")
    versions = [sort_versions(answer["metadata"].get("feature_view_metadata")) for answer in (got, wanted)]
    if versions[0] != versions[1]:
        found.append(f"feature_view_metadata {versions[0]} instead of {versions[1]}")
    return found + order_of_views(got, wanted)


def order_of_views(got, wanted):
    """Entity columns stand first and in order; a view's columns stand together, where Feast has them."""
    got, wanted = ([group(name) for name in answer["metadata"]["feature_names"]] for answer in (got, wanted))
    return [] if got == wanted else [f"order of columns {got} instead of {wanted}"]


def group(name):
    """The view of a column, as far as its name tells; a key's own name."""
    view, _, feature = name.rpartition("__")
    view = view or next((view for view, features in FEATURES.items() if feature in features), feature)
    return "stats or pair" if view in {"stats", "pair"} else view  # both have a `rate`


def sort_versions(metadata):
    return sorted(metadata, key=json.dumps) if metadata else metadata


def shape(answer):
    """What must be equal of a refusal: of Feast's own exceptions all of it, of others the kind, of FastAPI's the places."""
    body = answer.json()
    if isinstance(body, str):
        try:
            error = json.loads(body)  # {"module": "feast.errors", "class": ..., "message": ...}
        except ValueError:
            error = None
        if not isinstance(error, dict):
            return "text"
        if error["class"] == "FeatureNameCollisionError":
            error["message"] = sorted(error["message"].replace(",", "").split())  # the names come in any order
        return error
    if isinstance(body, dict) and isinstance(body.get("detail"), list):
        return sorted((detail["type"], json.dumps(detail["loc"])) for detail in body["detail"])
    return body
