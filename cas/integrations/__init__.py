"""What meets the world outside: folders of files, and other libraries, one module each."""
