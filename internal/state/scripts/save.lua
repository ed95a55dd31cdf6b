-- Saves rows, if the saver is the owner of record: a step of a full save, the first
-- of which begins anew, or all changes at once. The head comes last, and says which
-- save it is of; rows without a head are not used.
-- KEYS record, rows, and rows of the layout that was written before, if another.
-- ARGV identity, epoch, layout, how long the other rows are kept in seconds, kind of step
-- (begin, rows, head, changes), number of the save, number of the save before, head
-- or "", fields that there must be afterwards, number of removed fields, those, and
-- then fields and values.
-- Returns -1 if the saver is not the owner of record, -2 if nothing is known of it,
-- -3 if there is something else than what it builds upon, or else the number of fields.
local record = redis.call('HMGET', KEYS[1], 'o', 'e', 'r')
local epoch, mine = tonumber(record[2] or 0), tonumber(ARGV[2])
if epoch < mine then
  return -2
end
if epoch > mine or record[1] ~= ARGV[1] then
  return -1
end
local kind, number, before, head = ARGV[5], ARGV[6], ARGV[7], ARGV[8]
local is = string.sub(redis.call('HGET', KEYS[2], 'head') or '', 1, 8)
if is == number then
  return redis.call('HLEN', KEYS[2]) -- it was saved, and the answer lost
end
if kind == 'begin' then
  redis.call('UNLINK', KEYS[2])
  redis.call('HSET', KEYS[2], 'save', number)
elseif kind == 'changes' then
  if is ~= before then
    return -3
  end
elseif redis.call('HGET', KEYS[2], 'save') ~= number then
  return -3
end
local removed = tonumber(ARGV[10])
for i = 11, 10 + removed, 500 do
  redis.call('HDEL', KEYS[2], unpack(ARGV, i, math.min(i + 499, 10 + removed)))
end
for i = 11 + removed, #ARGV, 1000 do
  redis.call('HSET', KEYS[2], unpack(ARGV, i, math.min(i + 999, #ARGV)))
end
if kind == 'begin' or kind == 'rows' then
  return redis.call('HLEN', KEYS[2])
end
if kind == 'head' then
  redis.call('HDEL', KEYS[2], 'save')
end
redis.call('HSET', KEYS[2], 'head', head)
local length = redis.call('HLEN', KEYS[2])
if length ~= tonumber(ARGV[9]) then
  redis.call('HDEL', KEYS[2], 'head')
  return -3
end
if record[3] ~= ARGV[3] then
  redis.call('HSET', KEYS[1], 'r', ARGV[3])
  redis.call('PERSIST', KEYS[2])
  if KEYS[3] then
    redis.call('EXPIRE', KEYS[3], tonumber(ARGV[4]))
  end
end
return length
