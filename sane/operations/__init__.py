"""What a person or a program asks for: deploy, promote, pause, rollback, retry, watch."""
