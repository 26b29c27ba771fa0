/**
 * The scripts that run at the server, where several commands must be one step. All keys of a call have the same hash tag, as a
 * cluster requires. Replies are integers and texts, which every version of the protocol has.
 */
export interface Script {
  readonly name: string;
  readonly keys: number;
  readonly text: string;
}

/**
 * Finds a token, or else takes the lock. A token that begins with an unwanted text counts as missing.
 * KEYS token, lock. ARGV value of the lock (empty: only look), its lifetime in ms, longest value, unwanted token.
 * Replies the token, and the lock that is held now.
 */
export const ACQUIRE: Script = {
  name: 'acquire',
  keys: 2,
  text: `
local function read(key)
  if redis.call('STRLEN', key) > tonumber(ARGV[3]) then return '' end
  return redis.call('GET', key) or ''
end
local token = read(KEYS[1])
local isUnwanted = ARGV[4] ~= '' and string.sub(token, 1, #ARGV[4]) == ARGV[4]
if token ~= '' and not isUnwanted then return {token, ''} end
if ARGV[1] == '' then return {'', ''} end
if redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) then return {'', ARGV[1]} end
return {'', read(KEYS[2])}
`,
};

/**
 * Writes the result of an exchange and frees the lock, unless another replica holds it by now. KEYS place of the result, lock.
 * ARGV value of the lock, result (empty: none), its lifetime in ms. Replies 1 if no other replica holds it.
 */
export const FINISH: Script = {
  name: 'finish',
  keys: 2,
  text: `
local lock = redis.call('GETRANGE', KEYS[2], 0, #ARGV[1] - 1)
if lock ~= '' and lock ~= ARGV[1] then return 0 end
if ARGV[2] ~= '' then redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
if lock ~= '' then redis.call('DEL', KEYS[2]) end
return 1
`,
};

/** Removes a value that begins with a tag. KEYS value. ARGV tag. Replies 1 if it removed. */
export const FORGET: Script = {
  name: 'forget',
  keys: 1,
  text: `
if redis.call('GETRANGE', KEYS[1], 0, #ARGV[1] - 1) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
`,
};

/** Removes the keys of records if one has another type. Otherwise no record could be kept or read until that key expires. */
const REPAIR = `
local function isForeign(reply) return type(reply) == 'table' and reply.err and string.find(reply.err, 'WRONGTYPE', 1, true) end
if isForeign(redis.pcall('ZCARD', KEYS[1])) or isForeign(redis.pcall('HMGET', KEYS[2], '')) then
  redis.call('DEL', KEYS[1], KEYS[2])
end
`;

/**
 * Keeps a record until it expires, and forgets some that have expired. An earlier record of the same name is replaced, unless it
 * expires later. KEYS names by expiry, values by name. ARGV name, record, its expiry, now, its lifetime in ms, most records,
 * longest record, a later record to replace as well. Replies with 1, with 0 if the set is full, or with the later record.
 */
export const KEEP: Script = {
  name: 'keep',
  keys: 2,
  text: `${REPAIR}
local expired = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[4], 'LIMIT', 0, 500)
if #expired > 0 then
  redis.call('ZREM', KEYS[1], unpack(expired))
  redis.call('HDEL', KEYS[2], unpack(expired))
end
local before = redis.call('ZSCORE', KEYS[1], ARGV[1])
if before and tonumber(before) > tonumber(ARGV[3]) then
  local later = redis.call('HMGET', KEYS[2], ARGV[1])[1]
  if later and #later <= tonumber(ARGV[7]) and later ~= ARGV[8] then return later end
end
if not before and redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[6]) then return 0 end
redis.call('ZADD', KEYS[1], ARGV[3], ARGV[1])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
for _, key in ipairs(KEYS) do
  if redis.call('PTTL', key) < tonumber(ARGV[5]) then redis.call('PEXPIRE', key, ARGV[5]) end
end
return 1
`,
};

/**
 * Reads a page of records that are not expired. The last to expire are first, so that what expires meanwhile moves no other
 * record to a page that was read. A page is found by rank, because a search by expiry walks through all pages before it. KEYS
 * names by expiry, values by name. ARGV now, offset, most records, longest record.
 * Replies the number of names of the page, and name and value where neither is too long: another client may have written them.
 */
export const RECALL: Script = {
  name: 'recall',
  keys: 2,
  text: `${REPAIR}
local found = redis.call('ZREVRANGE', KEYS[1], ARGV[2], ARGV[2] + ARGV[3] - 1, 'WITHSCORES')
local names = {}
for i = 1, #found, 2 do
  local expiry = tonumber(found[i + 1])
  if expiry and expiry <= tonumber(ARGV[1]) then break end
  names[#names + 1] = found[i]
end
local page = {tostring(#names)}
if #names == 0 then return page end
local values = redis.call('HMGET', KEYS[2], unpack(names))
for i, name in ipairs(names) do
  if values[i] and #values[i] <= tonumber(ARGV[4]) and #name <= tonumber(ARGV[4]) then
    page[#page + 1] = name
    page[#page + 1] = values[i]
  end
end
return page
`,
};
