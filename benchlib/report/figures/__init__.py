"""One figure a module: a view in, a drawing with its words out."""
