"""What plug-in authors and recap's own tests share: strategies, fakes, fault helpers, fingerprints of step code."""
