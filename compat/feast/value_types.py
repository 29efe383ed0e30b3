"""One case for each type that a feature can have: how Feast declares it, and the values that are written and read back.

A case's rows belong to the entities 1, 2, 3, ...; after them comes a null. Values are what a Parquet file of `arrow` holds.
`pushed` are the same kind of values as JSON has them, for `/push`; a case without them is not pushed.
"""

import decimal
from dataclasses import dataclass, field
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pyarrow as pa
from feast.types import (
    Array,
    Bool,
    Bytes,
    Decimal,
    Float32,
    Float64,
    Int32,
    Int64,
    Json,
    Map,
    ScalarMap,
    Set,
    String,
    Struct,
    TimeUuid,
    UnixTimestamp,
    Uuid,
    ZonedTimestamp,
)

I32_MIN, I32_MAX = -(2**31), 2**31 - 1
I64_MIN, I64_MAX = -(2**63), 2**63 - 1
EXACT = 2**53
NAN, INFINITY = float("nan"), float("inf")
UUID_1, UUID_2 = "6f1c1a52-54cf-4f3b-9c5e-0d7d8b1e2a34", "00000000-0000-0000-0000-000000000000"
TIME_UUID_1, TIME_UUID_2 = "2c5ea4c0-4067-11e9-8bad-9b1deb4d3b7d", "13814000-1dd2-11b2-8000-000000000000"
UTC_US = pa.timestamp("us", tz="UTC")


@dataclass
class Case:
    name: str
    dtype: object
    arrow: pa.DataType | None  # None: Feast cannot write the type from a file
    values: list
    pushed: list = field(default_factory=list)
    # Feast reads integers as doubles where their column, or that of the struct around them, has a null.
    null_row: bool = True


def at(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def zoned(text, zone):
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone))


TEXTS = ["abc", "", "äöü 日本 \U0001f600", 'quote " and \\ and \n', "nul \0 inside"]
TIMES = [at("2024-03-01T12:34:56"), at("1970-01-01T00:00:00"), at("1969-12-31T23:59:58.500000"), at("2262-04-11T00:00:00")]
DOUBLES = [0.1, 0.0, -0.0, 1e16, 1e-5, 5e-324, 1.7976931348623157e308, -1.5, INFINITY, -INFINITY, 123456789.0]

SCALARS = [
    Case("bytes", Bytes, pa.binary(), [b"abc", b"", bytes(range(256)), b"\xff\xfe"]),
    Case("string", String, pa.string(), TEXTS, TEXTS),
    Case("int32", Int32, pa.int32(), [1, 0, -1, I32_MIN, I32_MAX], [1, 0, -1, I32_MIN, I32_MAX]),
    Case("int64", Int64, pa.int64(), [1, 0, -1, -EXACT, EXACT], [1, 0, -1, -EXACT, EXACT]),
    Case("int64_exact", Int64, pa.int64(), [I64_MIN, I64_MAX, EXACT + 1], [I64_MIN, I64_MAX, EXACT + 1], False),
    Case("double", Float64, pa.float64(), [*DOUBLES, NAN], [v for v in DOUBLES if abs(v) != INFINITY]),
    Case("float", Float32, pa.float32(), [0.1, 0.0, -0.0, 3.4028234663852886e38, 1e-45, INFINITY, NAN, 2.5], [0.5, 0.0, -2.25]),
    Case("bool", Bool, pa.bool_(), [True, False, True], [True, False]),
    Case("unix_timestamp", UnixTimestamp, UTC_US, TIMES, [1709296496, 0, -2]),
    Case("json", Json, pa.large_string(), ['{"a": [1, 2.50, null]}', "[]", '"text"', "null", "12"], ['{"a": [1, 2.50]}', "[]"]),
    Case("uuid", Uuid, pa.string(), [UUID_1, UUID_2], [UUID_1, UUID_2]),
    Case("time_uuid", TimeUuid, pa.string(), [TIME_UUID_1, TIME_UUID_2], [TIME_UUID_1]),
    Case("decimal", Decimal, pa.string(), ["1.50", "0", "-12345678901234567890.123456789", "1E+3"], ["1.50", "-0.001"]),
    Case("decimal_128", Decimal, pa.decimal128(30, 4), [decimal.Decimal("1.5000"), decimal.Decimal("-12345678901234567890.1234")]),
    Case("zoned_timestamp", ZonedTimestamp, None, [zoned("2024-03-01T12:34:56", "Europe/Vienna"), TIMES[0]]),
]

LISTS = [
    Case("bytes_list", Array(Bytes), pa.list_(pa.binary()), [[b"a", b""], [], [b"\xff"]]),
    Case("string_list", Array(String), pa.list_(pa.string()), [["a", "b", "a"], [], ["é", ""]], [["a", "b"], ["x"]]),
    Case("int32_list", Array(Int32), pa.list_(pa.int32()), [[1, -1], [], [I32_MIN, I32_MAX]], [[1, -1], [I32_MAX]]),
    Case("int64_list", Array(Int64), pa.list_(pa.int64()), [[1, -1], [], [I64_MIN, I64_MAX]], [[1, -1], [EXACT + 1]]),
    Case("double_list", Array(Float64), pa.list_(pa.float64()), [[0.1, -0.0], [], [NAN, INFINITY, -INFINITY]], [[0.1, 2.5], [1e-7]]),
    Case("float_list", Array(Float32), pa.list_(pa.float32()), [[0.1, -0.0], [], [NAN, INFINITY, -INFINITY]], [[0.5, 0.1]]),
    Case("bool_list", Array(Bool), pa.list_(pa.bool_()), [[True, False], [], [False]], [[True, False]]),
    Case("unix_timestamp_list", Array(UnixTimestamp), pa.list_(UTC_US), [TIMES[:2], [], [TIMES[3]]], [[1709296496, 0]]),
    Case("json_list", Array(Json), pa.list_(pa.large_string()), [['{"a": 1}', "[]"], [], ["null"]], [['{"a": 1}', "2"]]),
    Case("uuid_list", Array(Uuid), pa.list_(pa.string()), [[UUID_1, UUID_2], [], [UUID_1]], [[UUID_1]]),
    Case("time_uuid_list", Array(TimeUuid), pa.list_(pa.string()), [[TIME_UUID_1], [], [TIME_UUID_2]], [[TIME_UUID_1]]),
    Case("decimal_list", Array(Decimal), pa.list_(pa.string()), [["1.50", "-2"], [], ["0.10"]], [["1.50", "0"]]),
]

SETS = [
    Case("bytes_set", Set(Bytes), pa.list_(pa.binary()), [[b"a", b"b"], [], [b"\xff"]]),
    Case("string_set", Set(String), pa.list_(pa.string()), [["a", "b", "a"], [], ["é"]], [["a", "b"], ["x"]]),
    Case("int32_set", Set(Int32), pa.list_(pa.int32()), [[3, 1, 3], [], [I32_MIN]], [[1, 2]]),
    Case("int64_set", Set(Int64), pa.list_(pa.int64()), [[3, 1, 3], [], [I64_MAX]], [[1, 2]]),
    Case("double_set", Set(Float64), pa.list_(pa.float64()), [[0.5, 0.25, 0.5], [], [1e300]], [[0.5, 0.25]]),
    Case("float_set", Set(Float32), pa.list_(pa.float32()), [[0.5, 0.25, 0.5], [], [0.1]], [[0.5]]),
    Case("bool_set", Set(Bool), pa.list_(pa.bool_()), [[True, False, True], [], [False]], [[True]]),
    Case("unix_timestamp_set", Set(UnixTimestamp), pa.list_(UTC_US), [TIMES[:2], [], [TIMES[3]]], [[1709296496, 0]]),
    Case("uuid_set", Set(Uuid), pa.list_(pa.string()), [[UUID_1, UUID_2, UUID_1], [], [UUID_1]], [[UUID_1]]),
    Case("time_uuid_set", Set(TimeUuid), pa.list_(pa.string()), [[TIME_UUID_1], [], [TIME_UUID_2]], [[TIME_UUID_1]]),
    Case("decimal_set", Set(Decimal), pa.list_(pa.string()), [["1.50", "-2"], [], ["0.10"]], [["1.50"]]),
]

# Feast reads no Arrow map: a map comes as a struct or as JSON text.
NAMES = pa.struct([("k", pa.string()), ("ä", pa.string())])
PAIR = pa.struct([("a", pa.int64()), ("b", pa.string())])
NUMBER_LISTS, TEXT_LISTS = pa.list_(pa.list_(pa.float64())), pa.list_(pa.list_(pa.string()))
NESTED = [
    Case("map", Map, NAMES, [{"k": "v", "ä": ""}, {"k": None, "ä": "1"}], [{"k": "v"}, {"n": 1, "deep": {"x": [1.5]}}]),
    Case("map_of_text", Map, pa.string(), ['{"k": 1, "l": [1, 2], "m": {"n": null}}', "{}"], ['{"k": "v", "l": [0.5]}']),
    Case("map_list", Array(Map), pa.string(), ['[{"k": "v"}, {}]', '[{"a": 1.5}]'], [[{"k": "v"}]]),
    Case("struct", Struct({"a": Int64, "b": String}), PAIR, [{"a": 1, "b": "x"}, {"a": -7, "b": ""}], [{"a": 1, "b": "x"}], False),
    Case("struct_list", Array(Struct({"a": Int64, "b": String})), pa.list_(PAIR), [[{"a": 1, "b": "x"}], []], [[{"a": 1, "b": "x"}]]),
    Case("list_of_lists", Array(Array(Int64)), pa.list_(pa.list_(pa.int64())), [[[1, 2], [3]], [], [[], [4]]], [[[1, 2], [3]]]),
    Case("list_of_sets", Array(Set(String)), TEXT_LISTS, [[["a"], ["b"]], []], [[["a"], ["b"]]]),
    Case("set_of_lists", Set(Array(Float64)), NUMBER_LISTS, [[[0.5, 1.5]], []], [[[0.5, 1.5]]]),
    Case("scalar_map", ScalarMap, None, [{1: "a", 2: "b"}, {}]),
]

CASES = [*SCALARS, *LISTS, *SETS, *NESTED]

# The types that a key can have: name, type of the join key, Arrow type, keys in the file, the same in JSON, others to push.
KEYS = [
    ("string", String, pa.string(), ["abc", "", "日本"], ["abc", "", "日本"], ["pushed", "ü"]),
    ("int32", Int32, pa.int32(), [1, -1, I32_MAX], [1, -1, I32_MAX], [2, I32_MIN]),
    ("int64", Int64, pa.int64(), [1, -1, I64_MAX], [1, -1, I64_MAX], [2, I64_MIN]),
    ("bytes", Bytes, pa.binary(), [b"abc", b"", b"\xff\0"], None, None),  # Feast takes no bytes in JSON
    ("unix_timestamp", UnixTimestamp, UTC_US, [at("2024-03-01T00:00:00"), at("1970-01-01T00:00:00")], [1709251200, 0], [5, -5]),
]
