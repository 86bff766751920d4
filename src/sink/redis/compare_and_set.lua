-- Replaces a hash if what is stored is older. Runs as one step: no reader sees half a row.
-- KEYS[1] key; ARGV[1] version, [2] job, [3] time to live in ms (0: for ever), [4...] further fields and values.
-- Answers 1 = written, 0 = already there, or {reason, detail}.
local stored = redis.pcall('HMGET', KEYS[1], '_version', '_job')
if stored.err then
  if string.find(stored.err, 'WRONGTYPE', 1, true) then
    return {'wrongtype', redis.call('TYPE', KEYS[1]).ok}
  end
  return stored
end
local version, job = stored[1], stored[2]
if version then
  if job ~= ARGV[2] or #version ~= #ARGV[1] then
    return {'foreign', job or ''}
  end
  if version >= ARGV[1] then
    -- The generation is the first 15 digits.
    if string.sub(version, 1, 15) == string.sub(ARGV[1], 1, 15) then
      return 0
    end
    return {'fenced', version}
  end
elseif redis.call('EXISTS', KEYS[1]) == 1 then
  return {'foreign', ''}
end
-- A full server refuses a script's first write only, and only one that takes memory: so not DEL. Nothing has changed then.
redis.call('HSET', KEYS[1], '_version', ARGV[1])
-- Deleting removes fields that are NULL now, and the old time to live.
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], '_version', ARGV[1], '_job', ARGV[2], unpack(ARGV, 4))
if ARGV[3] ~= '0' then
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
return 1
