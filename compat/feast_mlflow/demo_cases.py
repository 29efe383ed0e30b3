"""The requests that are compared: every demo driver, customer and pair, alone and many in one request."""

DRIVERS = [*range(1001, 1011), 1099]  # 1099 is in no view
CUSTOMERS = [*(f"c-{n}" for n in range(2001, 2007)), "c-2099"]  # c-2099 is in no view
PAIRS = [(driver, customer) for driver in DRIVERS for customer in CUSTOMERS]


def trip_km(index):
    """Some distances, one of them not exact in binary, one above every training value."""
    return [3.2, 7.5, 0.1, 18.0, 250.75][index % 5]


def columns(entities, inputs=None):
    return {"entities": entities} | ({"inputs": inputs} if inputs else {})


def driver_ranking(model="driver_ranking"):
    distances = [trip_km(i) for i in range(len(DRIVERS))]
    for driver, km in zip(DRIVERS, distances, strict=True):
        yield model, columns({"driver_id": [driver]}, {"trip_km": [km]})
    yield model, columns({"driver_id": DRIVERS}, {"trip_km": distances})
    yield model, columns({"driver_id": DRIVERS}, {"trip_km": 4.4})


def driver_ranking_forms():
    """Other ways to ask: rows, scalars, keys as text, the same driver twice, features that the request overrides."""
    model = "driver_ranking"
    yield model, {"rows": [{"driver_id": 1003, "trip_km": 5.5}, {"driver_id": 1099, "trip_km": 0.7}]}
    yield model, columns({"driver_id": 1001}, {"trip_km": 3.2})
    yield model, columns({"driver_id": ["1002", 1002.0]}, {"trip_km": [1.0, 2.0]})
    yield model, columns({"driver_id": [1008, 1001, 1008]}, {"trip_km": [9.0, 9.0, 9.0]})
    yield model, columns({"driver_id": [1001, 1010]}, {"trip_km": [6.0, 6.0], "conv_rate": [0.25, 0.75]})
    yield model, columns({"driver_id": [1001, 1002]}, {"trip_km": [6.0, 6.0], "acc_rate": [None, 0.5]})


def trip_acceptance():
    for driver, customer in PAIRS:
        yield "trip_acceptance", columns({"driver_id": [driver], "customer_id": [customer]})
    drivers, customers = zip(*PAIRS, strict=True)
    yield "trip_acceptance", columns({"driver_id": list(drivers), "customer_id": list(customers)})


def trip_eta():
    for index, driver in enumerate(DRIVERS):
        yield "trip_eta", columns({"driver_id": [driver], "rider_id": [CUSTOMERS[index % len(CUSTOMERS)]]})
    drivers, customers = zip(*PAIRS, strict=True)
    yield "trip_eta", columns({"driver_id": list(drivers), "rider_id": list(customers)})


def all_cases():
    """(model, request) pairs, always in the same order."""
    return [
        *driver_ranking(),
        *driver_ranking("driver_ranking@challenger"),
        *driver_ranking("driver_ranking:1"),
        *driver_ranking_forms(),
        *trip_acceptance(),
        *trip_eta(),
    ]


def smoke_cases():
    """One call a model, for `make smoke` and for the message of `make demo`."""
    return [
        ("driver_ranking", columns({"driver_id": [1001, 1002, 1003]}, {"trip_km": [3.2, 7.5, 12.0]})),
        ("trip_acceptance", columns({"driver_id": [1001, 1008], "customer_id": ["c-2001", "c-2002"]})),
        ("trip_eta", columns({"driver_id": [1001, 1002], "rider_id": ["c-2001", "c-2004"]})),
    ]
