"""What is computed: expressions, windows, queries."""
