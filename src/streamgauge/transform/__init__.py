"""What changes events before they are counted: SQL that derives fields, and a user's Python in a process of its own."""
