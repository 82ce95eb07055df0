"""One trial, or a pack of them, on the node that trains. Knows no sweep, scheduler or MLflow."""
