-- Health of a DistillationJob. Its conditions follow kstatus: Ready, Reconciling and Stalled tell good end, work
-- and bad end; Suspended and ReviewPending stand beside Reconciling.
local hs = { status = "Progressing", message = "waiting for the operator" }

local status = obj.status
if status == nil or status.observedGeneration == nil or status.observedGeneration == -1 then
  return hs
end
if obj.metadata.generation ~= nil and obj.metadata.generation ~= status.observedGeneration then
  hs.message = "waiting for the operator to see the edit"
  return hs
end

local conditions = {}
for _, condition in ipairs(status.conditions or {}) do
  conditions[condition.type] = condition
end

local function holds(kind)
  return conditions[kind] ~= nil and conditions[kind].status == "True"
end

local function words(kind)
  local condition = conditions[kind]
  if condition.message == nil or condition.message == "" then
    return condition.reason
  end
  return condition.reason .. ": " .. condition.message
end

-- An end comes first: what has ended is neither suspended nor at work, whatever its spec says.
for _, kind in ipairs({ "Stalled", "Failed" }) do
  if holds(kind) then
    hs.status = "Degraded"
    hs.message = words(kind)
    return hs
  end
end
if holds("Ready") then
  hs.status = "Healthy"
  hs.message = conditions["Ready"].message
  return hs
end

-- Somebody has to act before it goes on.
for _, kind in ipairs({ "Suspended", "ReviewPending" }) do
  if holds(kind) then
    hs.status = "Suspended"
    hs.message = words(kind)
    return hs
  end
end

if holds("Reconciling") then
  hs.message = words("Reconciling")
  local progress = status.progress
  if progress ~= nil and progress.stage ~= nil and progress.percent ~= nil then
    hs.message = progress.stage .. ", " .. progress.percent .. " %: " .. hs.message
  end
end
return hs
