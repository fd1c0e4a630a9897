"""From numbers to tables, figures and diagrams."""
