"""Does ELMo pay? The same tagger over the vectors of several models, with little and with much labelled text."""
