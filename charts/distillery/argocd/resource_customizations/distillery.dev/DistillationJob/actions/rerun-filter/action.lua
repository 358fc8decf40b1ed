local os = require("os")
if obj.metadata.annotations == nil then
  obj.metadata.annotations = {}
end
obj.metadata.annotations["distillery.dev/rerun-requested-at"] = os.date("!%Y-%m-%dT%H:%M:%SZ") .. "/filter"
return obj
