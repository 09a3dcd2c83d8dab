"""Files on disk: atomic writes, locks, resumable output, and checked reading of files from untrusted sources."""
