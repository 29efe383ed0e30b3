-- wrk: posts the bytes of the file $BODY, the first $HEADER_LENGTH of them a header in JSON, and reports what dev/bench.py reads.
function init()
  local file = io.open(os.getenv("BODY"), "rb")
  wrk.method = "POST"
  wrk.headers["Inference-Header-Content-Length"] = os.getenv("HEADER_LENGTH")
  wrk.body = file:read("*a")
  file:close()
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    'RESULT {"p50": %d, "p99": %d, "answers": %d, "microseconds": %d, "errors": %d}\n',
    latency:percentile(50), latency:percentile(99), summary.requests, summary.duration,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
