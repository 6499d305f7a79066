"""RunPod's two conversations, over one HTTP session: the control plane (`graphql`) and the job API (`jobs`)."""
