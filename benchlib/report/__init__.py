"""How it is shown: theme, figures, tables, HTML."""
