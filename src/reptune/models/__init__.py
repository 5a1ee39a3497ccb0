"""Things that read text, shared by the methods: causal, masked and sentence models."""
