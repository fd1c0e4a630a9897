"""From an Audited Model to its Auxiliary Auditable Data and the MINT Models trained on them."""
