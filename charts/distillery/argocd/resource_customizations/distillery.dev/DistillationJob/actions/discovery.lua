-- Offers what would have an effect now. Every action sets an annotation, which self-heal leaves alone; the operator
-- carries it out and notes the value in status.handled.
local actions = {}
local annotations = obj.metadata.annotations or {}
local status = obj.status or {}
local handled = status.handled or {}

local seen = obj.metadata.generation == nil or obj.metadata.generation == status.observedGeneration
local conditions, reasons = {}, {}
for _, condition in ipairs(status.conditions or {}) do
  conditions[condition.type] = condition.status == "True"
  reasons[condition.type] = condition.reason
end
local finished = seen and (conditions["Complete"] or conditions["Failed"])

-- Asked for and not yet carried out.
local function pending(request)
  local value = annotations["distillery.dev/" .. request]
  return value ~= nil and value ~= handled[request]
end

-- A rerun is noted per stage.
local function rerun_pending()
  local value = annotations["distillery.dev/rerun-requested-at"]
  for _, stage in ipairs(status.stages or {}) do
    if value ~= nil and value == handled["rerun-requested-at/" .. stage.name] then
      return false
    end
  end
  return value ~= nil
end

if not finished then
  if conditions["Suspended"] then
    -- `suspend: true` in the spec wins over any annotation: edit it in Git.
    if not obj.spec.suspend and not pending("resume-requested-at") then
      actions["resume"] = { iconClass = "fa fa-fw fa-play", displayName = "Resume" }
    end
  elseif not obj.spec.suspend and not pending("suspend-requested-at") then
    actions["suspend"] = { iconClass = "fa fa-fw fa-pause", displayName = "Suspend" }
  end
  if not pending("cancel-requested-at") and reasons["Reconciling"] ~= "Cancelled" then
    actions["cancel"] = { iconClass = "fa fa-fw fa-stop", displayName = "Cancel" }
  end
end

-- Against a verdict or a wrong spec another try does not help: edit the spec, or rerun a stage.
local hopeless = status.evaluation ~= nil or reasons["Failed"] == "InvalidSpec"
if finished and conditions["Failed"] and not hopeless and not pending("retry-requested-at") then
  actions["retry"] = { iconClass = "fa fa-fw fa-redo", displayName = "Retry" }
end

for _, stage in ipairs(status.stages or {}) do
  if stage.state == "Succeeded" and not rerun_pending() then
    actions["rerun-" .. stage.name] =
      { iconClass = "fa fa-fw fa-undo", displayName = "Rerun from " .. stage.name }
  end
  if
    stage.name == "filter"
    and stage.identity ~= nil
    and conditions["ReviewPending"]
    and not finished
    and annotations["distillery.dev/approve-review"] ~= stage.identity
  then
    actions["approve-review"] = { iconClass = "fa fa-fw fa-check", displayName = "Approve the review" }
  end
end

return actions
