"""A page about bundles that people look at: gathered as one document, then drawn."""
