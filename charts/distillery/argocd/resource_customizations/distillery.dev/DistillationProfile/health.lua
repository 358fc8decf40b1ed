-- A DistillationProfile is a template: it is what it says as soon as it exists.
return { status = "Healthy" }
