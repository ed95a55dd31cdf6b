-- Makes a member the owner of record, if the owner is the one that is believed to be
-- gone. In a data set that is younger than the patience no state is opened but the
-- member's own: a living owner of which nothing is known yet may know more.
-- KEYS record, spent. ARGV identity, owner that is believed to be gone or "", when the
-- data set began, patience in milliseconds, how many of the handed-in ledgers to
-- return, and what tells this opening from every other.
-- Returns "taken" and the owner; "young"; or "open", the epoch, how it was taken, the
-- ledger, its age, the age of the data set, the layout of the rows, and what was handed
-- in, each after its age. Ages are in milliseconds, -1 without a ledger.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local record = redis.call('HMGET', KEYS[1], 'o', 'e', 'f', 'l', 'lt', 'r', 'k')
local owner = record[1] or ''
local age = now - tonumber(ARGV[3])
local from = record[3] or 'new'
if owner ~= ARGV[1] or record[7] ~= ARGV[6] then
  if owner ~= '' and owner ~= ARGV[1] and owner ~= ARGV[2] then
    return {'taken', owner}
  end
  if age < tonumber(ARGV[4]) and owner ~= ARGV[1] then
    return {'young'}
  end
  if owner ~= '' and owner ~= ARGV[1] then
    from = 'silent'
  elseif owner == '' and record[2] then
    from = 'closed'
  else
    from = 'new'
  end
  record[2] = string.format('%.0f', math.max(tonumber(record[2] or 0) + 1, now))
  redis.call('HSET', KEYS[1], 'o', ARGV[1], 'e', record[2], 'f', from, 'k', ARGV[6], 'n', '0')
end
local answer = {'open', record[2], from, '', -1, age, record[6] or ''}
if record[4] then
  answer[4] = record[4]
  answer[5] = math.max(0, now - tonumber(record[5] or now))
end
for _, spent in ipairs(redis.call('LRANGE', KEYS[2], 0, tonumber(ARGV[5]) - 1)) do
  answer[#answer + 1] = math.max(0, now - tonumber(string.match(spent, '^(%d+)|') or now))
  answer[#answer + 1] = spent
end
return answer
