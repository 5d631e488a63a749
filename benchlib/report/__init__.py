"""How it is shown: figures, tables, the page."""
