-- Hands a ledger in to the owner of record, present or next.
-- KEYS spent. ARGV ledger.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('RPUSH', KEYS[1], string.format('%.0f', now) .. '|' .. ARGV[1])
return 1
