"""Answers of feature servers: asked for, and compared."""

import json

from feast.feature_server import convert_response_to_dict

SET_TYPES = "_set"


def sdk_answer(store, features, entities, **options):
    """What the Feast SDK reads, as `feast serve` would render it."""
    response = store.get_online_features(features=features, entity_rows=entities, **options)
    return json.loads(json.dumps(convert_response_to_dict(response.proto)))


def http_answer(server, body):
    response = server.post("/get-online-features", body)
    assert response.status_code == 200, f"{server.name}: {response.status_code} {response.text}\n{server.log_tail()}"
    return response.json()


def columns(answer):
    """Feature name -> its vectors."""
    return dict(zip(answer["metadata"]["feature_names"], answer["results"], strict=True))


def in_order(values):
    """Members of sets come in any order."""
    return [sorted(value, key=json.dumps) if isinstance(value, list) else value for value in values]


def differences(got, wanted, unordered=()):
    """Between two answers, one line each; the order of columns within a view is free."""
    got, wanted = columns(got), columns(wanted)
    if got.keys() != wanted.keys():
        return [f"columns {sorted(got)} instead of {sorted(wanted)}"]
    found = []
    for name, vectors in wanted.items():
        for part, expected in vectors.items():
            answered = got[name].get(part)
            if part == "values" and name in unordered and answered is not None:
                answered, expected = in_order(answered), in_order(expected)
            if not same(answered, expected):
                found.append(f"{part} of `{name}`: {answered} instead of {expected}")
    return found


def same(got, wanted):
    """Equal, and of the same kind: 1, 1.0, -0.0 and true are four different things."""
    if isinstance(wanted, dict):
        return isinstance(got, dict) and got.keys() == wanted.keys() and all(same(got[k], wanted[k]) for k in wanted)
    if isinstance(wanted, list):
        return isinstance(got, list) and len(got) == len(wanted) and all(map(same, got, wanted))
    return type(got) is type(wanted) and repr(got) == repr(wanted)
