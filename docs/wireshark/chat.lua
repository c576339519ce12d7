-- A dissector for Wireshark and tshark: the frames of docs/PROTOCOL.md, with the verdict of the counts.
--
--   wireshark -X lua_script:docs/wireshark/chat.lua lesson.pcap
--   tshark -X lua_script:docs/wireshark/chat.lua -r lesson.pcap -Y chat
--
-- For live traffic on another port than 9876: right click a packet, Decode As..., CHAT.
-- Fields: chat.length chat.action chat.user chat.room chat.transaction_id chat.message_id chat.content
-- chat.confirm chat.status chat.code chat.counts_agree chat.json. Passwords and keys are not shown.

local chat = Proto("chat", "Classroom chat")
local HEADER, MAX_FRAME, MAX_DEPTH = 4, 16 * 1024 * 1024, 40

local field = {
  length = ProtoField.uint32("chat.length", "Length"),
  action = ProtoField.string("chat.action", "Action"),
  user = ProtoField.string("chat.user", "User"),
  room = ProtoField.string("chat.room", "Room"),
  transaction_id = ProtoField.string("chat.transaction_id", "Transaction"),
  message_id = ProtoField.string("chat.message_id", "Message"),
  content = ProtoField.string("chat.content", "Content"),
  confirm = ProtoField.bool("chat.confirm", "Confirm"),
  status = ProtoField.string("chat.status", "Status"),
  code = ProtoField.string("chat.code", "Code"),
  counts_agree = ProtoField.bool("chat.counts_agree", "Counts agree"),
  json = ProtoField.string("chat.json", "JSON"),
}
chat.fields = {
  field.length, field.action, field.user, field.room, field.transaction_id, field.message_id,
  field.content, field.confirm, field.status, field.code, field.counts_agree, field.json,
}
local differ = ProtoExpert.new("chat.counts_differ", "The counts differ", expert.group.CHECKSUM,
  expert.severity.WARN)
local broken = ProtoExpert.new("chat.no_json", "No JSON object", expert.group.MALFORMED,
  expert.severity.ERROR)
chat.experts = { differ, broken }

-- JSON, as far as needed: objects, lists, texts, numbers, true, false, null ----------------------

local function utf8_of(code)
  if code < 0x80 then return string.char(code) end
  if code < 0x800 then return string.char(0xC0 + math.floor(code / 64), 0x80 + code % 64) end
  if code < 0x10000 then
    return string.char(0xE0 + math.floor(code / 4096), 0x80 + math.floor(code / 64) % 64,
      0x80 + code % 64)
  end
  return string.char(0xF0 + math.floor(code / 262144), 0x80 + math.floor(code / 4096) % 64,
    0x80 + math.floor(code / 64) % 64, 0x80 + code % 64)
end

local ESCAPES = { b = "\b", f = "\f", n = "\n", r = "\r", t = "\t", ['"'] = '"', ["\\"] = "\\", ["/"] = "/" }

local function unescape(text)
  -- first pairs of surrogates, then all others
  text = text:gsub("\\u([dD][89abAB]%x%x)\\u([dD][c-fC-F]%x%x)", function(high, low)
    return utf8_of(0x10000 + (tonumber(high, 16) - 0xD800) * 1024 + tonumber(low, 16) - 0xDC00)
  end)
  local parts, at = {}, 1
  while true do
    local slash = text:find("\\", at, true)
    if not slash then break end
    parts[#parts + 1] = text:sub(at, slash - 1)
    local kind = text:sub(slash + 1, slash + 1)
    if kind == "u" then
      local digits = text:match("^%x%x%x%x", slash + 2)
      if not digits then error("bad escape") end
      parts[#parts + 1] = utf8_of(tonumber(digits, 16))
      at = slash + 6
    else
      parts[#parts + 1] = ESCAPES[kind] or error("bad escape")
      at = slash + 2
    end
  end
  parts[#parts + 1] = text:sub(at)
  return table.concat(parts)
end

local value -- below

local function text_at(json, at)
  local stop = at + 1
  while true do
    stop = json:find('["\\]', stop) or error("a text without end")
    if json:sub(stop, stop) == '"' then break end
    stop = stop + 2
  end
  return unescape(json:sub(at + 1, stop - 1)), stop + 1
end

local function blank(json, at)
  return json:match("^[ \t\r\n]*()", at)
end

local function object_at(json, at, depth)
  local found = {}
  at = blank(json, at + 1)
  if json:sub(at, at) == "}" then return found, at + 1 end
  while true do
    if json:sub(at, at) ~= '"' then error("a key is missing") end
    local key, behind = text_at(json, at)
    at = blank(json, behind)
    if json:sub(at, at) ~= ":" then error("a colon is missing") end
    found[key], at = value(json, blank(json, at + 1), depth + 1)
    at = blank(json, at)
    local mark = json:sub(at, at)
    if mark == "}" then return found, at + 1 end
    if mark ~= "," then error("a comma is missing") end
    at = blank(json, at + 1)
  end
end

local function list_at(json, at, depth)
  local found = {}
  at = blank(json, at + 1)
  if json:sub(at, at) == "]" then return found, at + 1 end
  while true do
    found[#found + 1], at = value(json, at, depth + 1)
    at = blank(json, at)
    local mark = json:sub(at, at)
    if mark == "]" then return found, at + 1 end
    if mark ~= "," then error("a comma is missing") end
    at = blank(json, at + 1)
  end
end

function value(json, at, depth)
  if depth > MAX_DEPTH then error("nested too deeply") end
  local first = json:sub(at, at)
  if first == '"' then return text_at(json, at) end
  if first == "{" then return object_at(json, at, depth) end
  if first == "[" then return list_at(json, at, depth) end
  for word, meaning in pairs({ ["true"] = true, ["false"] = false }) do
    if json:sub(at, at + #word - 1) == word then return meaning, at + #word end
  end
  if json:sub(at, at + 3) == "null" then return nil, at + 4 end
  local number = json:match("^-?%d[%d.eE+-]*", at)
  if not number then error("no value") end
  return tonumber(number), at + #number
end

local function read(json)
  local fine, packet = pcall(function()
    local found, at = value(json, blank(json, 1), 1)
    if blank(json, at) <= #json then error("something behind the object") end
    return found
  end)
  return fine and type(packet) == "table" and packet or nil
end

-- Counting: each key is one code point (R-MSG-1) ------------------------------------------------

local function letters(text)
  local counts = {}
  for letter in text:gmatch("[\0-\127\192-\255][\128-\191]*") do
    counts[letter] = (counts[letter] or 0) + 1
  end
  return counts
end

local function same(one, other)
  for key, count in pairs(one) do if other[key] ~= count then return false end end
  for key in pairs(other) do if one[key] == nil then return false end end
  return true
end

-- What is known of each connection, and the verdicts found at the first pass --------------------

local talks, verdicts

function chat.init() talks, verdicts = {}, {} end

local function talk_of(pinfo)
  local ends = { tostring(pinfo.src) .. ":" .. pinfo.src_port, tostring(pinfo.dst) .. ":" .. pinfo.dst_port }
  table.sort(ends)
  local key = ends[1] .. " " .. ends[2]
  talks[key] = talks[key] or { waiting = {}, texts = {} }
  return talks[key]
end

-- Return true or false for counts, nil for all else
local function judge(talk, packet)
  local data, action = packet.data, packet.action
  if type(data) ~= "table" then return nil end
  local key = data.transaction_id
  if action == "send_message" and type(data.content) == "string" then
    table.insert(talk.waiting, { key = key, content = data.content })
  elseif action == "receive_message" and type(key) == "string" then
    talk.texts[key] = data.content
  elseif action == "character_count" and type(data.letter_frequencies) == "table" and type(key) == "string" then
    if data.original_action == "send_message" and #talk.waiting > 0 then
      local place = 1
      for at, each in ipairs(talk.waiting) do if each.key == key then place = at break end end
      talk.texts[key] = table.remove(talk.waiting, place).content
    end
    local text = talk.texts[key]
    if type(text) == "string" then return same(letters(text), data.letter_frequencies) end
  end
  return nil
end

-- Frames -----------------------------------------------------------------------------------------

local function hide(json)
  for _, key in ipairs({ "password", "new_password", "session_key" }) do
    json = json:gsub('("' .. key .. '"%s*:%s*")[^"\\]*', function(begin) return begin .. "********" end)
  end
  return json
end

local TEXTS = { { "action" }, { "status" }, { "code" } }
local DATA_TEXTS = {
  { "room", "room_id" }, { "transaction_id", "transaction_id" }, { "content", "content" },
}

local function show(tree, buffer, packet)
  for _, each in ipairs(TEXTS) do
    local found = packet[each[1]]
    if type(found) == "string" then tree:add(field[each[1]], buffer, found) end
  end
  local data = type(packet.data) == "table" and packet.data or {}
  local user = data.chatid or data.chat_id or data.sender_chatid
  if type(user) == "string" then tree:add(field.user, buffer, user) end
  for _, each in ipairs(DATA_TEXTS) do
    local found = data[each[2]]
    if type(found) == "string" then tree:add(field[each[1]], buffer, found) end
  end
  if type(data.message_id) == "number" then
    tree:add(field.message_id, buffer, string.format("%.0f", data.message_id))
  end
  if type(data.confirm) == "boolean" then tree:add(field.confirm, buffer, data.confirm) end
end

local function dissect_frame(buffer, pinfo, root)
  local json = buffer:range(HEADER):string()
  local tree = root:add(chat, buffer())
  tree:add(field.length, buffer:range(0, HEADER))
  local packet = read(buffer:range(HEADER):raw())
  pinfo.cols.protocol = "CHAT"
  if not packet then
    tree:add_proto_expert_info(broken)
    tree:add(field.json, buffer:range(HEADER), hide(json))
    return buffer:len()
  end
  local key = pinfo.number .. "/" .. buffer:offset()
  if not pinfo.visited and verdicts[key] == nil then
    local verdict = judge(talk_of(pinfo), packet)
    verdicts[key] = verdict == nil and "none" or verdict
  end
  show(tree, buffer:range(HEADER), packet)
  local verdict = verdicts[key]
  if verdict == true or verdict == false then
    tree:add(field.counts_agree, buffer:range(HEADER), verdict)
    if not verdict then tree:add_proto_expert_info(differ) end
  end
  tree:add(field.json, buffer:range(HEADER), hide(json))
  local action = type(packet.action) == "string" and packet.action or "no action"
  tree:append_text(", " .. action)
  local info = tostring(pinfo.cols.info)
  pinfo.cols.info = (pinfo.private.chat_frame == tostring(pinfo.number) and info .. ", " or "")
    .. action .. (verdict == false and " (counts differ)" or "")
  pinfo.private.chat_frame = tostring(pinfo.number)
  return buffer:len()
end

local function length_of(buffer)
  local length = buffer:range(0, HEADER):uint()
  if length < 1 or length > MAX_FRAME then return buffer:len() end -- no frame: take what is there
  return HEADER + length
end

function chat.dissector(buffer, pinfo, root)
  dissect_tcp_pdus(buffer, root, HEADER, function(part) return length_of(part) end, dissect_frame)
  return buffer:len()
end

DissectorTable.get("tcp.port"):add(9876, chat)
