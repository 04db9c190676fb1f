"""What every room uses: atomic writes, locks, hashes, words for times."""
