//! Lua that Redis runs. Each script touches one slot only, and uses what Redis 6.2 has.

use std::sync::LazyLock;

use redis::Script;

/// Takes a lease if it is free, of the same process (`ARGV[3]` = start id with its dot), or, when `ARGV[5]` is `1`,
/// of the same pod (`ARGV[4]`) or of a process that says it is leaving.
/// `KEYS[1]` lease, `ARGV[1]` record, `ARGV[2]` lease in ms. Returns `{1}` or `{0, record of the holder, ms left}`.
pub(super) static REGISTER: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local held = redis.call('GET', KEYS[1])
if held then
  local ok, record = pcall(cjson.decode, held)
  if ok and type(record) == 'table' then
    local mine = string.sub(tostring(record.incarnation), 1, #ARGV[3]) == ARGV[3]
    local takeover = ARGV[5] == '1'
      and ((ARGV[4] ~= '' and record.pod_uid == ARGV[4]) or record.status == 'leaving')
    if not mine and not takeover then
      return {0, held, redis.call('PTTL', KEYS[1])}
    end
  end
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return {1, '', 0}",
    )
});

/// Extends a lease that is still ours. `KEYS[1]` lease, `ARGV[1]` record, `ARGV[2]` lease in ms, `ARGV[3]`
/// incarnation. Returns `{1}` extended, `{0}` missing, `{2, record}` held by another.
pub(super) static HEARTBEAT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local held = redis.call('GET', KEYS[1])
if not held then return {0, ''} end
local ok, record = pcall(cjson.decode, held)
if ok and type(record) == 'table' and record.incarnation ~= ARGV[3] then return {2, held} end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return {1, ''}",
    )
});

/// Gives a lease up if it is ours. `KEYS[1]` lease, `ARGV[1]` incarnation.
pub(super) static GIVE_UP: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local held = redis.call('GET', KEYS[1])
if not held then return 0 end
local ok, record = pcall(cjson.decode, held)
if ok and type(record) == 'table' and record.incarnation ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])",
    )
});

/// Renews the ownership of the prefix. `KEYS[1]` owner, `ARGV[1]` who, `ARGV[2]` ms. Returns the other owner or ''.
pub(super) static OWN: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then return owner end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return ''",
    )
});

/// Reads the registry's marker, and makes it anew where it is missing or of another server: `<random> <made at, us>
/// <run id>`. A run id that may not be read is `-` and fits every one. `KEYS[1]` marker, `ARGV[1]` random. Returns the
/// marker and its age in us.
pub(super) static MARKER: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local held = redis.call('GET', KEYS[1])
local info = redis.pcall('INFO', 'server')
local run = type(info) == 'string' and string.match(info, 'run_id:(%x+)') or '-'
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
if held then
  local made, of = string.match(held, '^%S+ (%d+) (%S+)$')
  if made and (of == run or of == '-' or run == '-') then
    return {held, string.format('%.0f', math.max(now - tonumber(made), 0))}
  end
end
local new = ARGV[1] .. ' ' .. string.format('%.0f', now) .. ' ' .. run
redis.call('SET', KEYS[1], new)
return {new, '0'}",
    )
});

/// Keeps the later of two revocations. `KEYS[1]` revoked, `ARGV[1]` ms since the epoch, `ARGV[2]` life in ms. Returns
/// what counts now.
pub(super) static REVOKE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local held = tonumber(redis.call('GET', KEYS[1]) or '0') or 0
local before = string.format('%.0f', math.max(held, tonumber(ARGV[1])))
redis.call('SET', KEYS[1], before, 'PX', ARGV[2])
return before",
    )
});

/// Writes a connection. `KEYS[1]` connections, `KEYS[2]` ban, `KEYS[3]` revoked, `KEYS[4]` session, `KEYS[5]` sessions;
/// `ARGV[1]` field, `ARGV[2]` entry as JSON without `seq`, `ARGV[3]` ms when the token was issued or empty without one,
/// `ARGV[4]` most connections or 0, `ARGV[5]` `close_oldest` or `reject`, `ARGV[6]` the device as it stands in an entry,
/// or empty, `ARGV[7]` what is kept of the session, or empty, `ARGV[8]` for how many ms, `ARGV[9]` the session,
/// `ARGV[10]` 1 when the dead are known: from `ARGV[11]` on, as `<id>#<inc>/`.
///
/// Returns `{0, ban, ms left}`, `{1, the whole hash, 1 if it changed, 1 if the user was moving and not called offline}`, `{2, revoked before}`, `{3}` when there are too
/// many, `{5, fields}` when there seem to be too many and who lives has to be known first. An entry that is there
/// already keeps its `seq`. A new entry of a device takes the place of older ones, which then count no more. Who has to go for this one is marked in its own entry, so that a repeat picks nobody else.
/// Numbers of 16 digits are printed with `%.0f`, because Lua's own conversion keeps only 14.
pub(super) static CONNECT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r#"
local ban = redis.call('GET', KEYS[2])
if ban then return {0, ban, redis.call('PTTL', KEYS[2])} end
if ARGV[3] ~= '' then
  local revoked = redis.call('GET', KEYS[3])
  if revoked and tonumber(ARGV[3]) < tonumber(revoked) then return {2, revoked} end
end
local replaced = '"replaced":true,'
local marked = '^{"seq":%d+,' .. replaced
local old = redis.call('HGET', KEYS[1], ARGV[1])
local most = tonumber(ARGV[4])
local changed = 0
local function replace(name, value)
  local seq, rest = string.match(value, '^{"seq":(%d+),(.*)$')
  if seq then
    redis.call('HSET', KEYS[1], name, '{"seq":' .. seq .. ',' .. replaced .. rest)
    changed = 1
  end
end
local older = {}
if not old and ARGV[6] ~= '' then
  local all = redis.call('HGETALL', KEYS[1])
  for i = 1, #all, 2 do
    if string.find(all[i], '/', 1, true) and not string.find(all[i + 1], marked)
      and string.find(all[i + 1], ARGV[6], 1, true) then
      older[all[i]] = all[i + 1]
    end
  end
end
if most > 0 and not (old and string.find(old, marked)) then
  local dead, others, fields = {}, {}, {}
  for i = 11, #ARGV do dead[ARGV[i]] = true end
  local all = redis.call('HGETALL', KEYS[1])
  for i = 1, #all, 2 do
    local name, value = all[i], all[i + 1]
    local slash = string.find(name, '/', 1, true)
    if slash and name ~= ARGV[1] and not older[name] and not string.find(value, marked) and not dead[string.sub(name, 1, slash)] then
      fields[#fields + 1] = name
      others[#others + 1] = {tonumber(string.match(value, '^{"seq":(%d+)') or '0'), name, value}
    end
  end
  local excess = #others + 1 - most
  if excess > 0 then
    if ARGV[10] ~= '1' then return {5, fields} end
    if ARGV[5] == 'reject' then
      if not old then return {3} end
    else
      table.sort(others, function(a, b) return a[1] < b[1] end)
      for i = 1, math.min(excess, #others) do replace(others[i][2], others[i][3]) end
    end
  end
end
for name, value in pairs(older) do replace(name, value) end
local seq = old and string.match(old, '^{"seq":(%d+)')
if not seq then seq = string.format('%.0f', redis.call('HINCRBY', KEYS[1], 'seq', 1)) end
local mark = old and string.find(old, marked) and replaced or ''
local entry = '{"seq":' .. seq .. ',' .. mark .. string.sub(ARGV[2], 2)
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
if ARGV[7] ~= '' and mark == '' then
  local ms = math.floor(now / 1000)
  redis.call('SET', KEYS[4], ARGV[7], 'PX', ARGV[8])
  redis.call('ZADD', KEYS[5], string.format('%.0f', ms + tonumber(ARGV[8])), ARGV[9])
  redis.call('ZREMRANGEBYSCORE', KEYS[5], '-inf', string.format('%.0f', ms))
  redis.call('PEXPIRE', KEYS[5], ARGV[8])
end
if entry ~= old or changed == 1 then
  changed = 1
  local ver = tonumber(redis.call('HGET', KEYS[1], 'ver') or '0')
  redis.call('HSET', KEYS[1], ARGV[1], entry, 'ver', string.format('%.0f', math.max(ver + 1, now)))
end
local moving = redis.call('HGET', KEYS[1], 'moving')
if moving then
  redis.call('HDEL', KEYS[1], 'moving')
  redis.call('PERSIST', KEYS[1])
end
return {1, redis.call('HGETALL', KEYS[1]), changed, moving and moving ~= 'gone' and 1 or 0}"#,
    )
});

/// The connection of a session ended. `KEYS[1]` session, `KEYS[2]` sessions, `ARGV[1]` session, `ARGV[2]` ms for which it
/// is kept, 0 for not at all.
pub(super) static END_SESSION: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
if ARGV[2] == '0' then
  redis.call('DEL', KEYS[1])
  redis.call('ZREM', KEYS[2], ARGV[1])
elseif redis.call('PEXPIRE', KEYS[1], ARGV[2]) == 1 then
  local time = redis.call('TIME')
  local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
  redis.call('ZADD', KEYS[2], string.format('%.0f', now + tonumber(ARGV[2])), ARGV[1])
end
return 1",
    )
});

/// Removes a connection. `KEYS[1]` connections, `ARGV[1]` field, `ARGV[2]` the instance's part of fields with its slash,
/// `ARGV[3]` for how many ms the client is expected back, 0 if it is not, `ARGV[4]` for how many ms longer the hash of a
/// moving user is kept. Returns how many connections of that instance are left, the version, all fields that are left,
/// and until when the user moves in ms since the epoch, 0 if it does not; `{-1, '0', {}, 0}` for a key of another kind,
/// which stays. A hash without connections goes, unless it says `moving`: then it ends by itself.
pub(super) static DISCONNECT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local kind = redis.call('TYPE', KEYS[1]).ok
if kind == 'none' then return {0, '0', {}, 0} end
if kind ~= 'hash' then return {-1, '0', {}, 0} end
local gone, here, left = redis.call('HDEL', KEYS[1], ARGV[1]), 0, {}
for _, k in ipairs(redis.call('HKEYS', KEYS[1])) do
  if string.find(k, '/', 1, true) then
    left[#left + 1] = k
    if string.sub(k, 1, #ARGV[2]) == ARGV[2] then here = here + 1 end
  end
end
local ver = redis.call('HGET', KEYS[1], 'ver') or '0'
local moving = tonumber(redis.call('HGET', KEYS[1], 'moving') or '0') or 0
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local ms = math.floor(now / 1000)
if gone > 0 then
  ver = string.format('%.0f', math.max(tonumber(ver) + 1, now))
  if here == 0 and tonumber(ARGV[3]) > 0 then
    moving = math.max(moving, ms + tonumber(ARGV[3]))
    redis.call('HSET', KEYS[1], 'moving', string.format('%.0f', moving))
  end
  if #left == 0 and moving <= ms then
    redis.call('DEL', KEYS[1])
  else
    redis.call('HSET', KEYS[1], 'ver', ver)
    if #left == 0 then redis.call('PEXPIRE', KEYS[1], moving - ms + tonumber(ARGV[4])) end
  end
end
if #left > 0 or moving <= ms then moving = 0 end
return {here, ver, left, moving}",
    )
});

/// Removes all connections of an instance. `KEYS[1]` connections, `ARGV[1]` the version under which it was told that the
/// user is offline, empty when nothing was told, `*` when nobody wants to hear it; `ARGV[2]` the instance's part of fields
/// with its slash, `ARGV[3]` for how many ms longer the hash of a moving user is kept. Returns how many were removed, and
/// the rest as [`DISCONNECT`].
///
/// When nothing would be left and that was not told, it removes nothing and returns `{-1, the version to tell, {}, 0}`:
/// the version is the same for whoever asks again, so that the event has one name however often a sweep is begun. Of a
/// user on the move nothing is told yet. Somebody else's key in this place must not hold up a sweep: it holds no
/// connection.
pub(super) static SWEEP: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
if redis.call('TYPE', KEYS[1]).ok ~= 'hash' then return {0, '0', {}, 0} end
local here, left = {}, {}
for _, k in ipairs(redis.call('HKEYS', KEYS[1])) do
  if string.sub(k, 1, #ARGV[2]) == ARGV[2] then
    here[#here + 1] = k
  elseif string.find(k, '/', 1, true) then
    left[#left + 1] = k
  end
end
local ver = redis.call('HGET', KEYS[1], 'ver') or '0'
local moving = tonumber(redis.call('HGET', KEYS[1], 'moving') or '0') or 0
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local ms = math.floor(now / 1000)
if #left > 0 or moving <= ms then moving = 0 end
if #here == 0 then return {0, ver, left, moving} end
local offline = string.format('%.0f', tonumber(ver) + 1)
if #left == 0 and moving == 0 and ARGV[1] ~= '*' and ARGV[1] ~= offline then return {-1, offline, {}, 0} end
for _, k in ipairs(here) do redis.call('HDEL', KEYS[1], k) end
ver = string.format('%.0f', math.max(tonumber(ver) + 1, now))
if #left == 0 and moving == 0 then
  redis.call('DEL', KEYS[1])
else
  redis.call('HSET', KEYS[1], 'ver', ver)
  if #left == 0 then redis.call('PEXPIRE', KEYS[1], moving - ms + tonumber(ARGV[3])) end
end
return {#here, ver, left, moving}",
    )
});

/// Says for how many ms a user without connections is expected back, 0 if it is not. `KEYS[1]` connections.
pub(super) static MOVING: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local moving = tonumber(redis.call('HGET', KEYS[1], 'moving') or '0') or 0
local time = redis.call('TIME')
return math.max(moving - math.floor(tonumber(time[1]) * 1000 + tonumber(time[2]) / 1000), 0)",
    )
});

/// Whether a user who was moving has not come back, so that its events have to say offline: 1 yes, 0 no, 2 it still may.
/// From 1 on its return is one from being offline. `KEYS[1]` connections, `ARGV[1]` the version when it began to move.
pub(super) static NOT_BACK: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local moving = redis.call('HGET', KEYS[1], 'moving')
if not moving or redis.call('HGET', KEYS[1], 'ver') ~= ARGV[1] then return 0 end
for _, k in ipairs(redis.call('HKEYS', KEYS[1])) do
  if string.find(k, '/', 1, true) then return 0 end
end
if moving ~= 'gone' then
  local time = redis.call('TIME')
  if tonumber(moving) > tonumber(time[1]) * 1000 + tonumber(time[2]) / 1000 then return 2 end
  redis.call('HSET', KEYS[1], 'moving', 'gone')
end
return 1",
    )
});

/// Writes an event, unless somebody did. `KEYS[1]` users that moved, `KEYS[2]` stream of events, `ARGV[1]` the member that
/// stands for the event, `ARGV[2]` events kept, `ARGV[3]` field, `ARGV[4]` event.
pub(super) static EMIT_ONCE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
if redis.call('ZREM', KEYS[1], ARGV[1]) == 1 then
  redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[2], '*', ARGV[3], ARGV[4])
end",
    )
});

/// Writes how many members of a group a node has. `KEYS[1]` nodes of the group, `ARGV[1]` node instance, `ARGV[2]` the
/// number; 0 takes the node off. A hash without nodes goes; a key of another kind holds no node and stays. Returns whether
/// anything changed.
pub(super) static SET_MEMBERS: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
if ARGV[2] == '0' and redis.call('TYPE', KEYS[1]).ok ~= 'hash' then return 0 end
local old = redis.call('HGET', KEYS[1], ARGV[1])
if old == ARGV[2] or (not old and ARGV[2] == '0') then return 0 end
if ARGV[2] == '0' then
  redis.call('HDEL', KEYS[1], ARGV[1])
  if redis.call('HLEN', KEYS[1]) <= redis.call('HEXISTS', KEYS[1], 'ver') then
    redis.call('DEL', KEYS[1])
    return 1
  end
else
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
end
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local ver = tonumber(redis.call('HGET', KEYS[1], 'ver') or '0')
redis.call('HSET', KEYS[1], 'ver', string.format('%.0f', math.max(ver + 1, now)))
return 1",
    )
});
