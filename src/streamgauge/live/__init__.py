"""What changes in the browser while you watch."""
