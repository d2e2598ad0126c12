-- What wrk sends. Each request is put together here as a whole: the same cost for every system, and no format call on the way.
--   WORK     the kind of work, a name in `works`
--   TARGETS  host:port,...    thread n talks to the n-th of them
--   PREFIX   five characters that no other run has, so that every write has a fresh key
--   ROWS     how many rows there are to read
-- A key has 15 bytes: prefix, number of the thread, nine digits. That is five groups of three, so base64 needs no padding.

local alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
local prefix, rows = os.getenv("PREFIX"), tonumber(os.getenv("ROWS") or "1")
local text = '"grade":"A","text":"' .. string.rep("x", 64) .. '"}'
local data = '{"name":"Ahmed Ali",' .. text
local targets, threads = {}, {}
for host, port in string.gmatch(os.getenv("TARGETS"), "([^:,]+):(%d+)") do targets[#targets + 1] = { host, port } end

function setup(thread)
  threads[#threads + 1] = thread
  local target = targets[(#threads - 1) % #targets + 1]
  thread.addr = wrk.lookup(target[1], target[2])[1]
  thread:set("number", #threads)
end

local function base64(bytes)
  local out = {}
  for i = 1, #bytes, 3 do
    local a, b, c = string.byte(bytes, i, i + 2)
    local n = a * 65536 + (b or 0) * 256 + (c or 0)
    local four = ""
    for shift = 3, 0, -1 do
      local place = math.floor(n / 64 ^ shift) % 64 + 1
      four = four .. string.sub(alphabet, place, place)
    end
    out[#out + 1] = b and (c and four or string.sub(four, 1, 3) .. "=") or string.sub(four, 1, 2) .. "=="
  end
  return table.concat(out)
end

local plain, coded = {}, {}
for i = 0, 999 do
  plain[i] = string.format("%03d", i)
  coded[i] = base64(plain[i])
end

local function digits(groups, i)
  return groups[math.floor(i / 1000000)] .. groups[math.floor(i / 1000) % 1000] .. groups[i % 1000]
end

local function post(host, path, body)
  return "POST " .. path .. " HTTP/1.1\r\nHost: " .. host .. "\r\nContent-Length: " .. #body .. "\r\n\r\n" .. body
end

-- A request of fixed length with a counter in its middle: head, digits, tail.
local function around(groups, make)
  local mark = string.rep("@", #groups[0] * 3)
  local whole = make(mark)
  local from, to = string.find(whole, mark, 1, true)
  local head, tail = string.sub(whole, 1, from - 1), string.sub(whole, to + 1)
  return function(i) return head .. digits(groups, i) .. tail end
end

local works = {}

function works.ddbd_write(host, stem)
  return around(plain, function(d)
    return post(host, "/insert", '{"table_name":"writes","row_id":"' .. stem .. d .. '","data":' .. data .. "}")
  end)
end

function works.etcd_write(host, stem)
  local value, key = base64(data), base64(stem)
  return around(coded, function(d) return post(host, "/v3/kv/put", '{"key":"' .. key .. d .. '","value":"' .. value .. '"}') end)
end

local function picked(make)
  return function(i) return make((i * 7919) % rows) end
end

local function ddbd_read(more)
  return function(host)
    return picked(around(plain, function(d)
      return "GET /select?table=reads&row_id=reads0" .. d .. more .. " HTTP/1.1\r\nHost: " .. host .. "\r\n\r\n"
    end))
  end
end

local function etcd_read(more)
  return function(host)
    local key = base64("reads0")
    return picked(around(coded, function(d) return post(host, "/v3/kv/range", '{"key":"' .. key .. d .. '"' .. more .. "}") end))
  end
end

works.ddbd_read, works.ddbd_read_local = ddbd_read(""), ddbd_read("&consistency=local")
works.etcd_read, works.etcd_read_local = etcd_read(""), etcd_read(',"serializable":true')

-- One write in ten. A write takes the next number, so that the count of writes is known.
local function mixed(read, write)
  return function(host, stem)
    local reads, writes = read(host, stem), write(host, stem)
    return function(i)
      if i % 10 ~= 0 then return reads(i) end
      return writes(i / 10)
    end
  end
end

works.ddbd_mixed = mixed(works.ddbd_read, works.ddbd_write)
works.etcd_mixed = mixed(works.etcd_read, works.etcd_write)

-- Into the growing table, each row with a name of its own: the index has to take it. No search looks for these.
function works.ddbd_grow(host, stem)
  local head = "POST /insert HTTP/1.1\r\nHost: " .. host .. "\r\nContent-Length: "
  local first, second, last = '{"table_name":"people","row_id":"' .. stem, '","data":{"name":"m', '",' .. text .. "}"
  local length = #first + #second + #last + 18
  return function(i)
    local number = digits(plain, i)
    return head .. length .. "\r\n\r\n" .. first .. number .. second .. number .. last
  end
end

-- Many rows in one request.
local function joined(count, make)
  return function(i)
    local found = {}
    for n = 1, count do found[n] = make(i * count + n) end
    return table.concat(found, ",")
  end
end

function works.ddbd_rows(host, stem)
  local row = function(i)
    return '{"row_id":"' .. stem .. digits(plain, i) .. '","data":{"name":"n' .. digits(plain, i) .. '",' .. text .. "}"
  end
  local batch, table_name = joined(1000, row), os.getenv("TABLE") or "bulk"
  return function(i) return post(host, "/insert", '{"table_name":"' .. table_name .. '","rows":[' .. batch(i) .. "]}") end
end

function works.etcd_txn(host, stem)
  local value, key = base64(data), base64(stem)
  local put = function(i) return '{"request_put":{"key":"' .. key .. digits(coded, i) .. '","value":"' .. value .. '"}}' end
  local batch = joined(128, put)
  return function(i) return post(host, "/v3/kv/txn", '{"success":[' .. batch(i) .. "]}") end
end

-- By the names of the rows that were loaded from files: each stands once, so the answer has one row however large the table is.
function works.ddbd_search(host)
  return picked(around(plain, function(d)
    return "GET /search?table=people&column=name&value=n" .. d .. " HTTP/1.1\r\nHost: " .. host .. "\r\n\r\n"
  end))
end

-- The shape of a write, for servers that do nothing with it (bench/channel.py).
function works.empty(host, stem)
  return around(plain, function(d)
    return post(host, "/empty", '{"table_name":"writes","row_id":"' .. stem .. d .. '","data":' .. data .. "}")
  end)
end

function init()
  local target = targets[(number - 1) % #targets + 1]
  local make, i = works[os.getenv("WORK")](target[1] .. ":" .. target[2], prefix .. number), 0
  request = function()
    i = i + 1
    return make(i)
  end
end

function done(summary, latency)
  local e = summary.errors
  io.write(string.format(
    '\n{"requests":%d,"seconds":%.6f,"bytes":%d,"refused":%d,"broken":%d,"timeouts":%d,"p50_ms":%.4f,"p99_ms":%.4f,"max_ms":%.4f}\n',
    summary.requests, summary.duration / 1e6, summary.bytes, e.status, e.connect + e.read + e.write, e.timeout,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000, latency.max / 1000))
end
