-- Approves exactly what was reviewed: the identity of the filter's result. A later result needs its own approval.
local identity = nil
for _, stage in ipairs(obj.status.stages or {}) do
  if stage.name == "filter" then
    identity = stage.identity
  end
end
if identity == nil then
  error("the filter stage has no result to approve")
end
if obj.metadata.annotations == nil then
  obj.metadata.annotations = {}
end
obj.metadata.annotations["distillery.dev/approve-review"] = identity
return obj
