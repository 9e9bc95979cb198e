//! Lua for inboxes. Each script touches one user's slot only, and uses what Redis 6.2 has.
//!
//! `:inbox` is a stream; an entry's fields are `f` frame, `p` id of the entry before it, and `x`, in ms, when its own time is
//! over. `:meta` is a hash: `epoch`, `last`, `acked`, `bytes` (sum of the frames), `swept` (when age was looked at, ms), and
//! `c:<client_id>` -> `<id> <ms written>`. Ids are compared as two numbers. Numbers of 16 digits are printed with `%.0f`,
//! because Lua's own conversion keeps only 14.

use std::sync::LazyLock;

use redis::Script;

/// Cursors that are kept for one user; the one written longest ago goes first.
pub(super) const MOST_CURSORS: usize = 32;

/// Functions that the scripts share.
const SHARED: &str = r"
local function less(a, b)
  local am, as = string.match(a, '^(%d+)-(%d+)$')
  local bm, bs = string.match(b, '^(%d+)-(%d+)$')
  am, as, bm, bs = tonumber(am), tonumber(as), tonumber(bm), tonumber(bs)
  return am < bm or (am == bm and as < bs)
end
local function clock()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end
local function set_cursor(meta, field, id, now, is_new)
  redis.call('HSET', meta, field, id .. ' ' .. string.format('%.0f', now))
  if not is_new or redis.call('HLEN', meta) <= MOST then return end
  local all, cursors, oldest, since = redis.call('HGETALL', meta), 0, nil, nil
  for i = 1, #all, 2 do
    if string.sub(all[i], 1, 2) == 'c:' then
      cursors = cursors + 1
      local written = tonumber(string.match(all[i + 1], ' (%d+)$') or '0')
      if all[i] ~= field and (not since or written < since) then oldest, since = all[i], written end
    end
  end
  if cursors > MOST and oldest then redis.call('HDEL', meta, oldest) end
end
";

fn script(body: &str) -> Script {
    let shared = SHARED.replace("MOST", &MOST_CURSORS.to_string());
    Script::new(&format!("{shared}{body}"))
}

/// Keeps a message. `KEYS`: inbox, meta, connections, idempotency. `ARGV[1]` epoch to take if there is none, `ARGV[2]` frame,
/// `ARGV[3]` the hub's id, `ARGV[4]` most messages, `ARGV[5]` most bytes, `ARGV[6]` life of a message in ms, `ARGV[7]` this
/// one's own or empty, `ARGV[8]` life of the idempotency key in ms or empty without one, `ARGV[9]` life of meta in ms.
///
/// Returns `{1 if it was kept before, epoch, id, id of the one before it, the hub's id, messages trimmed, fields of
/// connections}`. A stream without its meta is of a former epoch: its entries have no chain, so they go.
pub(super) static STORE: LazyLock<Script> = LazyLock::new(|| {
    script(
        r"
local inbox, meta = KEYS[1], KEYS[2]
local fields = redis.call('HKEYS', KEYS[3])
if ARGV[8] ~= '' then
  local seen = redis.call('GET', KEYS[4])
  if seen then
    local epoch, id, first = string.match(seen, '^(%x+):(%d+%-%d+) (%S+)$')
    if id then return {1, epoch, id, id, first, 0, fields} end
  end
end
local head = redis.call('HMGET', meta, 'epoch', 'last', 'bytes', 'swept')
local epoch, last, bytes, swept = head[1], head[2] or '0-0', tonumber(head[3] or '0'), tonumber(head[4] or '0')
local now = clock()
if not epoch then
  redis.call('DEL', inbox)
  epoch, last, swept = ARGV[1], '0-0', 0
end
local ms, seq = string.match(last, '^(%d+)-(%d+)$')
local id = string.format('%.0f-0', now)
if not less(last, id) then id = string.format('%.0f-%.0f', tonumber(ms), tonumber(seq) + 1) end
if ARGV[7] == '' then
  redis.call('XADD', inbox, id, 'f', ARGV[2], 'p', last)
else
  redis.call('XADD', inbox, id, 'f', ARGV[2], 'p', last, 'x', string.format('%.0f', now + tonumber(ARGV[7])))
end
local length = redis.call('XLEN', inbox)
bytes = (length == 1 and 0 or bytes) + #ARGV[2]
local most, most_bytes, life, trimmed = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), 0
local by_age = now - swept > life / 8
while length > 1 and (length > most or bytes > most_bytes or by_age) do
  local first = redis.call('XRANGE', inbox, '-', '+', 'COUNT', 1)[1]
  if length <= most and bytes <= most_bytes and tonumber(string.match(first[1], '^%d+')) >= now - life then break end
  redis.call('XDEL', inbox, first[1])
  length, bytes, trimmed = length - 1, bytes - #first[2][2], trimmed + 1
end
if by_age then swept = now end
redis.call('HSET', meta, 'epoch', epoch, 'last', id, 'bytes', string.format('%.0f', bytes),
  'swept', string.format('%.0f', swept))
-- Each is written to Redis' log, so not with every message: what is left is always enough for the last one.
if by_age or length == 1 then
  redis.call('PEXPIRE', meta, string.format('%.0f', tonumber(ARGV[9]) + life / 8))
  redis.call('PEXPIRE', inbox, string.format('%.0f', life + life / 8))
end
if ARGV[8] ~= '' then redis.call('SET', KEYS[4], epoch .. ':' .. id .. ' ' .. ARGV[3], 'PX', ARGV[8]) end
return {0, epoch, id, last, ARGV[3], trimmed, fields}",
    )
});

/// Says where a device begins to read. `KEYS`: inbox, meta. `ARGV[1]` the device's field or empty for none; `ARGV[2]` and
/// `ARGV[3]` epoch and id to read behind, or empty; `ARGV[4]` epoch to take if there is none and the reader had one, `ARGV[5]`
/// life of meta in ms.
///
/// Returns `{epoch or empty without an inbox, last, id behind which it begins, now in ms}`. A device without a cursor gets one
/// where it begins. The entries are read by XRANGE, since a script handles each of them many times slower.
pub(super) static BEGIN: LazyLock<Script> = LazyLock::new(|| {
    script(
        r"
local inbox, meta, field = KEYS[1], KEYS[2], ARGV[1]
local head = redis.call('HMGET', meta, 'epoch', 'last', 'acked', field == '' and '-' or field)
local epoch, last, start, now = head[1], head[2] or '0-0', '0-0', clock()
local text = string.format('%.0f', now)
if not epoch then
  if ARGV[2] == '' then return {'', '0-0', '0-0', text} end
  redis.call('DEL', inbox)
  redis.call('HSET', meta, 'epoch', ARGV[4], 'last', '0-0', 'bytes', '0')
  redis.call('PEXPIRE', meta, ARGV[5])
  return {ARGV[4], '0-0', '0-0', text}
end
if field ~= '' then
  local cursor = head[4] and string.match(head[4], '^%d+%-%d+')
  start = cursor or head[3] or '0-0'
  -- A Redis that is out of memory can still be read from.
  if not cursor then pcall(set_cursor, meta, field, start, now, true) end
end
if ARGV[2] == epoch and less(start, ARGV[3]) then start = ARGV[3] end
if less(last, start) then start = last end
return {epoch, last, start, text}",
    )
});

/// Notes that a device and its user have everything up to an id. `KEYS[1]` meta; `ARGV[1]` epoch, `ARGV[2]` the device's field
/// or empty, `ARGV[3]` id. Returns whether it is of this epoch.
pub(super) static ACKNOWLEDGE: LazyLock<Script> = LazyLock::new(|| {
    script(
        r"
local meta, field, id = KEYS[1], ARGV[2], ARGV[3]
local head = redis.call('HMGET', meta, 'epoch', 'last', 'acked', field == '' and '-' or field)
if head[1] ~= ARGV[1] then return 0 end
local last = head[2] or '0-0'
if less(last, id) then id = last end
if field ~= '' then
  local cursor = head[4] and string.match(head[4], '^%d+%-%d+')
  if not cursor or less(cursor, id) then set_cursor(meta, field, id, clock(), not cursor) end
end
if less(head[3] or '0-0', id) then redis.call('HSET', meta, 'acked', id) end
return 1",
    )
});

/// What Redis says of its memory. `KEYS[1]` any key, so that the question reaches that key's server. Returns bytes used, the
/// most it may use or 0, and what it does then.
pub(super) static MEMORY: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local info = redis.call('INFO', 'memory')
return {string.match(info, 'used_memory:(%d+)') or '0', string.match(info, 'maxmemory:(%d+)') or '0',
  string.match(info, 'maxmemory_policy:(%S+)') or ''}",
    )
});
