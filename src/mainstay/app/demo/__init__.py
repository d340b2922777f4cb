"""The demo: a toy CRM, a model, the glue of today, and what Mainstay does differently when things go wrong."""
