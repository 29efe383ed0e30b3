-- wrk: posts $BODY, and looks at every answer: version N answers N. Reports what bench.py reads.
local threads = {}

function setup(thread)
  thread:set("n_wrong", 0)
  table.insert(threads, thread)
end

function init()
  wrk.method = "POST"
  wrk.headers["Content-Type"] = "application/json"
  wrk.body = os.getenv("BODY")
end

function response(status, _, body)
  if status ~= 200 then return end -- counted by wrk
  local version = body:match('"version":"(%d+)"')
  local score = body:match('"variable":%[([%d.]+)%]')
  if not version or tonumber(version) ~= tonumber(score) then n_wrong = n_wrong + 1 end
end

function done(summary, latency)
  local errors, wrong = summary.errors, 0
  for _, thread in ipairs(threads) do wrong = wrong + thread:get("n_wrong") end
  io.write(string.format(
    'RESULT {"p50": %d, "p99": %d, "answers": %d, "errors": %d, "wrong": %d}\n',
    latency:percentile(50), latency:percentile(99), summary.requests,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout, wrong))
end
