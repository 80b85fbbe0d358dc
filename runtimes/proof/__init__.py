"""Finding where a wrong result comes from: pass by pass, node by node, in float64."""
