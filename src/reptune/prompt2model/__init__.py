"""From a sentence that describes a task to a small model that does it (chapter 7)."""
