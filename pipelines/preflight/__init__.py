"""What a run would be refused for later, found out before its first step."""
