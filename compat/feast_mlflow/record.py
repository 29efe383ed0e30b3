"""Writes tests/fixtures/demo/{expected,smoke}.json from what Feast and MLflow answer. Run it with `dev/record-demo`."""

import json
import platform
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import redis
from demo_cases import all_cases, smoke_cases
from demo_reference import CHECKOUT, STORES, Reference, demo_copy, materialize

FIXTURES = CHECKOUT / "tests" / "fixtures" / "demo"
PACKAGES = ["feast", "mlflow", "numpy", "onnx", "onnxruntime", "pandas", "redis", "scikit-learn", "skl2onnx"]


def main(redis_address):
    with tempfile.TemporaryDirectory() as directory:
        demo = demo_copy(directory)
        references = {}
        for store in STORES:
            materialize(demo, store)
            references[store] = Reference(demo, store)
        cases = [record(references, model, request) for model, request in all_cases()]
        smoke = [smoke_call(references, model, request) for model, request in smoke_cases()]
    host, port = redis_address.split(":")
    versions = {"python": platform.python_version(), "redis-server": redis.Redis(host, int(port)).info()["redis_version"]}
    versions |= {package: version(package) for package in PACKAGES}
    FIXTURES.mkdir(parents=True, exist_ok=True)
    expected = f'{{"versions": {json.dumps(versions)},\n"cases": {lines(cases)}}}\n'
    (FIXTURES / "expected.json").write_text(expected)
    (FIXTURES / "smoke.json").write_text(lines(smoke) + "\n")
    print(f"{len(cases)} cases, the same from {' and '.join(STORES)}")


def lines(items):
    """A JSON array with one item a line, so that differences are readable."""
    return "[\n" + ",\n".join(json.dumps(item) for item in items) + "\n]"


def record(references, model, request):
    answers = {store: reference.predict(model, request) for store, reference in references.items()}
    first = next(iter(answers.values()))
    for store, answer in answers.items():
        if answer != first:
            raise SystemExit(f"the stores differ for {model} {request}:\n{json.dumps(answers, indent=1)}")
    resolved = first.pop("model")
    return {"model": model, "version": resolved["version"], "request": request} | first


def smoke_call(references, model, request):
    answer = record(references, model, request)
    return {"method": "POST", "path": f"/v1/models/{model}/predict", "body": request, "outputs": answer["outputs"]}


if __name__ == "__main__":
    main(sys.argv[1])
