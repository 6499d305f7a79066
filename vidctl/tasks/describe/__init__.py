"""Ask a vision-language model about images and videos."""
