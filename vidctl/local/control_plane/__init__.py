"""Templates, endpoints, logins and volumes: RunPod's GraphQL and REST v2 APIs over one store of records."""
