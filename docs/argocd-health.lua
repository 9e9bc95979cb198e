-- Health of a WscCluster for Argo CD. Put it into the ConfigMap argocd-cm under the key
-- resource.customizations.health.wsc.dev_WscCluster
local health = { status = "Progressing", message = "Waiting for the operator to look at the resource" }
local status = obj.status
if status == nil or status.conditions == nil then
  return health
end
-- While the status speaks of an earlier spec, nothing in it says how the present one stands.
if obj.metadata.generation ~= nil and status.observedGeneration ~= obj.metadata.generation then
  return health
end

local conditions = {}
for _, condition in ipairs(status.conditions) do
  conditions[condition.type] = condition
end
local function stands(type, word)
  return conditions[type] ~= nil and conditions[type].status == word
end
local function say(word, type)
  health.status = word
  if conditions[type] ~= nil and conditions[type].message ~= nil then
    health.message = conditions[type].message
  end
  return health
end

if status.phase == "Paused" then
  return say("Suspended", "Ready")
end
if stands("SpecValid", "False") then
  return say("Degraded", "SpecValid")
end
if stands("Stalled", "True") then
  return say("Degraded", "Stalled")
end
if stands("Degraded", "True") then
  return say("Degraded", "Degraded")
end
if stands("Ready", "True") then
  return say("Healthy", "Ready")
end
if stands("Progressing", "True") then
  return say("Progressing", "Progressing")
end
-- Nobody works on it and nobody should: there are to be no nodes.
if status.phase == "Stopped" then
  return say("Suspended", "Ready")
end
return say("Progressing", "Ready")
